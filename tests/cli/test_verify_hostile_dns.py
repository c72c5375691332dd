"""Hostile answers at each of the names that are asked for: never a failure, never an exception, nothing asked of us (T19, T20, F10)."""

import asyncio
import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rrset
import pytest

from appliance.cli.verify import answer_line
from appliance.lab.nameserver import Behaviour, Crafted, Misbehaviour, NameServer, Slow, Zone
from appliance.lab.samples import SigningKey
from tests.checks import mails

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

OWN = "192.0.2.1"
STRANGER = "198.51.100.66"
TIMEOUT_SECONDS = 0.3

# ---- who is asked for what ------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A message whose verdict hangs on one answer. ``%`` in names stands for a top-level domain of its own."""

    records: Mapping[str, str]
    """``name type`` to the record."""
    name: str
    """The name in trouble, with its type."""
    good: Mapping[str, str]
    """What is answered while there is none."""
    trouble: Mapping[str, str] = field(default_factory=lambda: {"dmarc": "temperror", "disposition": "none"})
    author: str = "legit.%"
    mail_from: str = "a@legit.%"
    helo: str = "nothing.%"
    ip: str = OWN
    signer: str = ""
    sealed: bool = False


REJECT = {"_dmarc.legit.% TXT": "v=DMARC1; p=reject"}
PASS = {"dmarc": "pass", "disposition": "none"}
FAIL = {"dmarc": "fail", "disposition": "reject"}
SPF_TROUBLE = {"spf": "temperror", "dmarc": "temperror", "disposition": "none"}


def by_spf(terms: str, name: str, **more: str) -> Case:
    """The author's SPF record has *terms*, of which *name* is needed."""
    records = {**REJECT, "legit.% TXT": f"v=spf1 {terms}"}
    records |= {key.replace("_of_", ".% "): value for key, value in more.items()}
    return Case(records, name, PASS, SPF_TROUBLE)


HERE = f"v=spf1 ip4:{OWN} -all"
CASES = {
    "SPF record": by_spf(f"ip4:{OWN} -all", "legit.% TXT"),
    "include": by_spf("include:inc.% -all", "inc.% TXT", inc_of_TXT=HERE),
    "redirect": by_spf("redirect=red.%", "red.% TXT", red_of_TXT=HERE),
    "a": by_spf("a:host.% -all", "host.% A", host_of_A=OWN),
    "mx": by_spf("mx:mail.% -all", "mail.% MX", mail_of_MX="10 host.%.", host_of_A=OWN),
    "address of an mx": by_spf("mx:mail.% -all", "host.% A", mail_of_MX="10 host.%.", host_of_A=OWN),
    "exists": by_spf("exists:yes.% -all", "yes.% A", yes_of_A="127.0.0.2"),
    "SPF record of the HELO name": Case(
        {**REJECT, "mx.legit.% TXT": HERE}, "mx.legit.% TXT", PASS, SPF_TROUBLE, mail_from="", helo="mx.legit.%"
    ),
    "DKIM key": Case(REJECT, "s._domainkey.legit.% TXT", PASS, mail_from="", signer="legit.%"),
    "author's policy, forged": Case({**REJECT, "legit.% TXT": HERE}, "_dmarc.legit.% TXT", FAIL, ip=STRANGER),
    "author's policy, genuine": Case({**REJECT, "legit.% TXT": HERE}, "_dmarc.legit.% TXT", PASS),
    "organization's policy": Case(REJECT, "_dmarc.legit.% TXT", FAIL, author="a.legit.%", mail_from=""),
    "policy between": Case(REJECT, "_dmarc.b.legit.% TXT", FAIL, author="a.b.legit.%", mail_from=""),
    "top-level domain's policy": Case(REJECT, "_dmarc.% TXT", FAIL, author="a.legit.%", mail_from=""),
    "walk of a signer": Case(
        {**REJECT, "_dmarc.b.legit.% TXT": "v=DMARC1; p=none"},
        "_dmarc.b.legit.% TXT",
        PASS,
        mail_from="",
        signer="b.legit.%",
    ),
    "existence": Case(
        {"_dmarc.legit.% TXT": "v=DMARC1; p=none; np=reject"},
        "new.legit.% A",
        FAIL,
        author="new.legit.%",
        mail_from="",
    ),
    "ARC key": Case(
        {**REJECT, "legit.% TXT": HERE},
        "arc._domainkey.list.% TXT",
        {"arc": "pass", **PASS},
        {"arc": "fail", **PASS},
        sealed=True,
    ),
    "PTR, where trouble is no match (RFC 7208 section 5.5)": Case(
        {"_dmarc.legit.% TXT": "v=DMARC1; p=none", "legit.% TXT": "v=spf1 ptr:legit.% ?all"},
        "1.2.0.192.in-addr.arpa PTR",
        {"spf": "neutral"},
        {"spf": "neutral", "dmarc": "fail", "disposition": "none"},
    ),
}  # fmt: skip


# ---- what may come back ---------------------------------------------------------


def rewritten(change: Callable[[dns.message.Message], None]) -> Crafted:
    """The right answer, changed as a message."""

    def craft(_transport: str, octets: bytes) -> bytes:
        message = dns.message.from_wire(b"\0\0" + octets)
        change(message)
        return message.to_wire()[2:]

    return Crafted(craft)


def with_rcode(name: str) -> Crafted:
    return rewritten(lambda message: message.set_rcode(dns.rcode.from_text(name)))


def of_octets(change: Callable[[bytes], bytes | None]) -> Crafted:
    """The right answer, changed octet by octet; the flags come first, the question begins at 10."""
    return Crafted(lambda _transport, octets: change(octets))


def over_tcp(change: Callable[[bytes], bytes | None]) -> Crafted:
    """Truncated over UDP; over TCP what *change* makes of it."""

    def craft(transport: str, octets: bytes) -> bytes | None:
        return change(octets) if transport == "tcp" else bytes((octets[0] | 0x02,)) + octets[1:]

    return Crafted(craft)


def another_name(octets: bytes) -> bytes:
    return octets[:11] + bytes((octets[11] ^ 0x01,)) + octets[12:]


def answer_for_another(message: dns.message.Message) -> None:
    name = dns.name.from_text("victim.example.")
    message.answer = [dns.rrset.from_text(name, 60, "IN", "TXT", "v=spf1 +all", "v=DMARC1; p=reject")]
    message.set_rcode(dns.rcode.NOERROR)


def without_question(message: dns.message.Message) -> None:
    message.question = []


def of_another_class(message: dns.message.Message) -> None:
    message.question[0].rdclass = dns.rdataclass.CH


def of_another_type(message: dns.message.Message) -> None:
    message.question[0].rdtype = dns.rdatatype.SRV


RDATA = {"A": b"\xc0\0\2\1", "MX": b"\0\x0a\xc0\x0c", "PTR": b"\xc0\x0c", "TXT": b"\x28" + b"x" * 40}


def own_answer(rdata: bytes | None = None, count: int = 1) -> Callable[[bytes], bytes]:
    """Records of the type that is asked for with these octets as their data, whatever they mean; by default with honest ones."""

    def change(octets: bytes) -> bytes:
        question = dns.message.from_wire(b"\0\0" + octets).question[0]
        of_type = question.rdtype.to_bytes(2)
        data = RDATA[dns.rdatatype.to_text(question.rdtype)] if rdata is None else rdata
        record = b"\xc0\x0c" + of_type + b"\0\1\0\0\0\x3c" + len(data).to_bytes(2) + data
        asked = (question.name.to_wire() or b"") + of_type + b"\0\1"
        whole = b"\x85\x80\0\1" + count.to_bytes(2) + bytes(4) + asked + record * count
        return whole[: 65_535 - 2]

    return change


HOSTILE: dict[str, Misbehaviour] = {
    **{behaviour.value: behaviour for behaviour in Behaviour if behaviour is not Behaviour.FORGED_FIRST},
    "too late": Slow(TIMEOUT_SECONDS * 3),
    "NOTIMP": with_rcode("NOTIMP"),
    "NOTAUTH": with_rcode("NOTAUTH"),
    "YXDOMAIN": with_rcode("YXDOMAIN"),
    "BADVERS": with_rcode("BADVERS"),
    "the ID and nothing else": of_octets(lambda _: b""),
    "the header and nothing else": of_octets(lambda octets: octets[:10]),
    "half an answer": of_octets(lambda octets: octets[: len(octets) // 2]),
    "the last octet missing": of_octets(lambda octets: octets[:-1]),
    "octets behind the end": of_octets(lambda octets: octets + bytes(20)),
    "a query in place of an answer": of_octets(lambda octets: bytes((octets[0] & 0x7F,)) + octets[1:]),
    "another operation": of_octets(lambda octets: bytes((octets[0] | 0x20,)) + octets[1:]),
    "more records counted than there are": of_octets(lambda octets: octets[:4] + b"\xff\xff" + octets[6:]),
    "a question for another name": of_octets(another_name),
    "a question for another type": rewritten(of_another_type),
    "a question of another class": rewritten(of_another_class),
    "no question": rewritten(without_question),
    "records of another name": rewritten(answer_for_another),
    "a name that points at itself": of_octets(lambda octets: octets[:10] + b"\xc0\x0c\0\x10\0\1"),
    "a name that points behind the end": of_octets(lambda octets: octets[:10] + b"\xff\xff\0\x10\0\1"),
    "a string longer than its record": of_octets(own_answer(b"\xff\xffa")),
    "a record without data": of_octets(own_answer(b"")),
    "64 kB of records": over_tcp(own_answer(count=4000)),
    "garbage over TCP": over_tcp(lambda _: b"\xff" * 40),
    "another name over TCP": over_tcp(another_name),
    "silence over TCP": over_tcp(lambda _: None),
    "half an answer over TCP": over_tcp(lambda octets: octets[: len(octets) // 2]),
}
HARMLESS: dict[str, Misbehaviour] = {
    "a forged answer first": Behaviour.FORGED_FIRST,
    "slow": Slow(0.02),
    "right over TCP": over_tcp(lambda octets: octets),
    "nothing wrong": of_octets(lambda octets: octets),
    "validated": of_octets(lambda octets: octets[:1] + bytes((octets[1] | 0x20,)) + octets[2:]),
}

# ---- all at each ----------------------------------------------------------------


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey()


@pytest.fixture
def server() -> Iterator[NameServer]:
    with NameServer() as running:
        yield running


def placed(text: str, domain: str) -> str:
    return text.replace("%", domain)


def request(case: Case, domain: str, key: SigningKey, server: NameServer) -> bytes:
    """The case as a line of input; its records are published."""
    zone: Zone = server.zone
    for place, value in case.records.items():
        name, of_type = placed(place, domain).split()
        if of_type == "TXT":
            zone.txt(name, placed(value, domain))
        else:
            zone.set(name, of_type, placed(value, domain))
    author = placed(case.author, domain)
    octets = f"From: a@{author}\r\nSubject: x\r\nTo: b@corp.example\r\n\r\nHello\r\n".encode()
    signing = mails.SigningKey(key.pem, key.record.encode())
    if case.signer:
        signer = placed(case.signer, domain)
        zone.txt(f"s._domainkey.{signer}", key.record)
        octets = mails.signed(signing, octets, domain=signer, selector="s", names=("from", "subject"))
    if case.sealed:
        zone.txt(f"arc._domainkey.list.{domain}", key.record)
        octets = mails.sealed(signing, octets, chain="none", domain=f"list.{domain}")
    line = {
        "id": 1,
        "op": "verify",
        "ip": case.ip,
        "helo": placed(case.helo, domain),
        "mail_from": placed(case.mail_from, domain),
        "message_b64": base64.b64encode(octets).decode(),
        "now": None,
        "dns": server.address,
        "dns_timeout": TIMEOUT_SECONDS,
    }
    return json.dumps(line).encode()


def answers(server: NameServer, key: SigningKey, behaviour: Misbehaviour) -> dict[str, dict[str, Any]]:
    """What is answered of each case, all at once."""
    lines = {}
    for number, (title, case) in enumerate(CASES.items()):
        domain = f"t{number}"
        lines[title] = request(case, domain, key, server)
        name, of_type = placed(case.name, domain).split()
        server.zone.misbehave(name, behaviour, of_type)

    async def run() -> list[dict[str, Any]]:
        return await asyncio.gather(*(answer_line(line, "") for line in lines.values()))

    return dict(zip(lines, asyncio.run(run()), strict=True))


def shown(found: Mapping[str, Any], expected: Mapping[str, str]) -> dict[str, Any]:
    return {name: found[name] for name in (*expected, "error")}


@pytest.mark.parametrize("behaviour", HOSTILE.values(), ids=HOSTILE.keys())
def test_t19_t20_f10_a_hostile_answer_at_any_name_is_trouble_and_never_a_failure(
    server: NameServer, key: SigningKey, behaviour: Misbehaviour
) -> None:
    """DISC-40, DISC-41, DISC-42, DISC-43, ARC-07."""
    found = answers(server, key, behaviour)

    expected = {title: {**case.trouble, "error": None} for title, case in CASES.items()}
    assert {title: shown(answer, CASES[title].trouble) for title, answer in found.items()} == expected


@pytest.mark.parametrize("behaviour", HARMLESS.values(), ids=HARMLESS.keys())
def test_t19_an_odd_but_right_answer_counts(
    server: NameServer, key: SigningKey, behaviour: Misbehaviour
) -> None:
    found = answers(server, key, behaviour)

    expected = {title: {**case.good, "error": None} for title, case in CASES.items()}
    assert {title: shown(answer, CASES[title].good) for title, answer in found.items()} == expected
