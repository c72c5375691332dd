"""SPF records and envelopes made to do harm: every check comes to a result, and soon (T15)."""

import asyncio
import json
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.checks.answers import Answers, Missing
from appliance.checks.authenticate import authenticate
from appliance.checks.options import CheckOptions
from appliance.checks.spf import check_spf, explain_failure
from appliance.lab.nameserver import Behaviour, NameServer, Slow
from appliance.mail.authentication import SpfResult, SpfWord
from appliance.mail.message import IPAddress
from appliance.resolver import DEADLINE_PASSED, Answer, Question, RecordType, Resolver, Status
from tests.checks.mails import NOW, PLAIN, received

pytestmark = pytest.mark.timeout(60)  # what hangs is a failure; the cases together take a few seconds

Dns = Callable[[Question], Answer]
CLIENT = ip_address("192.0.2.1")
QUESTIONS_OF_THE_RFC = 1 + 10 * (1 + 10) + 1 + 10
"""The record, ten terms with ten hosts each, and the names of the client."""


def run(
    dns: Dns,
    *,
    client: IPAddress = CLIENT,
    helo: str = "mx.example.org",
    mail_from: str = "ann@example.org",
) -> tuple[SpfResult, int]:
    """The result, and how many questions it took."""
    answers, asked = Answers(), 0
    while True:
        try:
            result = check_spf(client, helo, mail_from, answers)
            explain_failure(client, helo, mail_from, answers, now=NOW)
        except Missing as missing:
            for question in missing.questions:
                answers.add(question, dns(question))
            asked += len(missing.questions)
            assert asked <= QUESTIONS_OF_THE_RFC
        else:
            assert result.reason.isascii()
            assert result.reason.isprintable()
            return result, asked


def everywhere(record: bytes) -> Dns:
    """Every name has *record*, ten mail exchangers, and an address."""

    def answer(question: Question) -> Answer:
        records: tuple[bytes, ...]
        match question.rdtype:
            case RecordType.TXT:
                records = (record,)
            case RecordType.MX | RecordType.PTR as rdtype:
                prefix = "10 " if rdtype is RecordType.MX else ""
                records = tuple(f"{prefix}h{n}.{question.name}"[:200].encode() for n in range(10))
            case RecordType.A:
                records = (b"203.0.113.9",)
            case _:
                records = (b"2001:db8::9",)
        return Answer(Status.RECORDS, records, 60)

    return answer


HOSTILE = {
    "4096 mechanisms": b"a " * 4096,
    "600 networks": b"ip4:1.1.1.1 " * 600,
    "1000 modifiers": b"x=%{s} " * 1000,
    "macro bomb": b"exists:" + b"%{s}" * 2000 + b".example",
    "split bombs": b"".join(b"exists:%s.x " % (b"%%{s%dr.-+,/_=}" % n * 20) for n in range(1, 20)),
    "names of the client": b"exists:%{p}.%{p.}.%{p-}.%{pr+}.example mx ptr:%{p}.x",
    "endless includes": b"include:%{d}.example",
    "tree of includes": b"include:x.%{d} include:y.%{d} include:z.%{d} ?all",
    "endless redirections": b"redirect=x.%{d}",
    "mail exchangers": b"mx " * 10 + b"mx:x.%{d} -all",
    "names again and again": b"ptr " * 10,
    "top-level label without end": b"a:" + b"a" * 8000 + b"_",
    "labels without end": b"a:" + b".a" * 4000 + b"_",
    "hyphens without end": b"a:" + b".a-" * 2700 + b"_",
    "open macros": b"a:" + b"%{d" * 2700,
    "prefixes without end": b"a:x" + b"/1" * 4000,
    "digits without end": b"a/" + b"1" * 8000,
    "macro digits without end": b"exists:%{d" + b"1" * 8000 + b"}.example",
    "delimiters without end": b"exists:%{d" + b"." * 8000 + b"}.example",
    "colons without end": b"ip6:" + b":" * 8000,
    "groups without end": b"ip6:" + b"1:" * 4000,
    "octets without end": b"ip4:" + b"1." * 4000,
    "name of a modifier without end": b"y" * 8000 + b"=",
    "blanks": b" " * 60_000,
    "explanation bomb": b"exp=" + b"%{p}" * 1500 + b" -all",
}


@pytest.mark.parametrize("terms", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("mail_from", ["ann@example.org", "-.".join(["x"] * 600) + "@example.org", ""])
def test_t15_a_hostile_record_comes_to_a_result(terms: bytes, mail_from: str) -> None:
    """SPF-01, SPF-03, SPF-04."""
    result, _ = run(everywhere(b"v=spf1 " + terms), mail_from=mail_from)

    assert result.result is not SpfWord.TEMPERROR
    assert result.reason != "internal error"


def test_t15_two_hundred_hostile_zones() -> None:
    for seed in range(200):
        random = Random(seed)
        cut = [case[: random.randrange(1, 3000)] for case in random.sample(list(HOSTILE.values()), 3)]

        result, _ = run(everywhere(b"v=spf1 " + b" ".join(cut)))

        assert result.reason != "internal error"


addresses = st.one_of(
    st.builds(IPv4Address, st.integers(0, 2**32 - 1)), st.builds(IPv6Address, st.integers(0, 2**128 - 1))
)
fragments = st.sampled_from(
    [
        "a",
        "mx",
        "ptr",
        "include",
        "exists",
        "ip4",
        "ip6",
        "all",
        "redirect",
        "exp",
        "=",
        ":",
        "/",
        "//",
        "0",
        "1",
        "32",
        "129",
        ".",
        ",",
        "-",
        "+",
        "~",
        "?",
        "%",
        "%%",
        "{",
        "}",
        "%{",
        "%{d}",
        "%{s}",
        "%{p}",
        "%{l1r-}",
        "%{I}",
        "%{H}",
        "example.org",
        "192.0.2.1",
        "2001:db8::1",
        "x",
        "y_",
        "\x00",
        "\n",
        "\t",
        "\x7f",
        "é",
        "\\",
        '"',
        "@",
        "(",
        ")",
        "v=spf1",
        "spf2.0/pra",
    ]
)
texts = st.one_of(
    st.text(max_size=60), st.lists(st.one_of(fragments, st.just(" ")), max_size=30).map("".join)
)
octets = st.one_of(st.binary(max_size=60), texts.map(lambda text: text.encode("utf-8", "surrogatepass")))
records = st.one_of(octets, octets.map(lambda terms: b"v=spf1 " + terms))
replies = st.one_of(
    st.lists(records, max_size=3).map(lambda texts: Answer(Status.RECORDS, tuple(texts), 60)),
    st.sampled_from(
        [Answer(Status.NXDOMAIN), Answer(Status.NO_DATA), Answer(Status.TEMPORARY, reason="timeout")]
    ),
)
hosts = st.lists(
    st.sampled_from([b"a.example", b"example.org", b"", b"..", b"x" * 70, b"a\\032b.example"]), max_size=12
)


@given(
    client=addresses,
    helo=texts,
    mail_from=st.one_of(texts, texts.map(lambda text: text + "@example.org")),
    texts=st.lists(replies, min_size=1, max_size=6),
    hosts=hosts,
    found=st.booleans(),
)
def test_no_exception_leaves_the_check(
    client: IPAddress, helo: str, mail_from: str, texts: list[Answer], hosts: list[bytes], *, found: bool
) -> None:
    """Section 14: pyspf raises for bad names, long names and bad addresses."""

    def dns(question: Question) -> Answer:
        assert question.name == question.name.lower()
        assert question.name.isascii()
        assert len(question.name) <= 253
        assert all(0 < len(label) <= 63 for label in question.name.split("."))
        place = len(question.name) % len(texts)
        match question.rdtype:
            case RecordType.TXT:
                return texts[place]
            case RecordType.MX:
                return Answer(Status.RECORDS, tuple(b"%d %s" % (place, host) for host in hosts), 60)
            case RecordType.PTR:
                return Answer(Status.RECORDS, tuple(hosts), 60)
            case RecordType.A:
                return Answer(Status.RECORDS, (b"192.0.2.1",), 60) if found else Answer(Status.NXDOMAIN)
            case _:
                return Answer(Status.RECORDS, (b"2001:db8::1",), 60) if found else Answer(Status.NO_DATA)

    result, _ = run(dns, client=client, helo=helo, mail_from=mail_from)

    assert result.reason != "internal error"
    json.dumps([result.domain, result.reason])


@pytest.mark.parametrize("rdtype", [RecordType.A, RecordType.MX, RecordType.PTR])
def test_recorded_answers_that_no_resolver_gave_are_a_permerror(rdtype: RecordType) -> None:
    """What is replayed comes from a file, and may say anything."""

    def dns(question: Question) -> Answer:
        if question.rdtype is RecordType.TXT:
            return Answer(Status.RECORDS, (b"v=spf1 ptr mx a -all",), 60)
        junk = b"\xff junk" if question.rdtype is rdtype else b"10 a.example"
        return Answer(Status.RECORDS, (junk,), 60)

    result, _ = run(dns)

    assert (result.result, result.reason) == (SpfWord.PERMERROR, "internal error")


def test_spf_05_waiting_for_the_dns_ends_in_a_temporary_error(nameserver: NameServer) -> None:
    """F10: a message has 20 s for the DNS; SPF gets the larger part of them, or its domain could hide the policy."""
    zone = nameserver.zone
    zone.txt("example.org", "v=spf1 a:h0.example include:i.example -all")
    zone.misbehave("h0.example", Slow(0.2))
    zone.a("h0.example", "203.0.113.9")
    zone.misbehave("i.example", Behaviour.SILENCE)

    found = asyncio.run(authenticated(nameserver, max_seconds=0.8))

    assert found == SpfResult(SpfWord.TEMPERROR, "example.org", reason=DEADLINE_PASSED)
    assert CheckOptions().max_seconds == 20


async def authenticated(nameserver: NameServer, *, max_seconds: float) -> SpfResult:
    resolver = Resolver(nameserver.address)
    assessment = await authenticate(
        received(PLAIN),
        client_ip=CLIENT,
        helo="mx.example.org",
        author_domains=(),
        resolver=resolver,
        now=NOW,
        options=CheckOptions(max_seconds=max_seconds),
    )
    await resolver.close()
    return assessment.authentication.spf
