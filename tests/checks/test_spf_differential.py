"""Generated SPF records, judged by us and by spftrace, which shares no code with pyspf; both ask a real name server."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from random import Random

import pytest
from spftrace import Evaluator, Limits, LiveResolver, Result

from appliance.checks.answers import Answers, Missing
from appliance.checks.spf import check_spf
from appliance.lab.nameserver import Behaviour, NameServer, Zone
from appliance.mail.authentication import SpfResult
from appliance.resolver import Resolver

NAMES = ("a.example", "b.example", "c.example", "d.example", "sub.a.example")
"""They have records, of generated contents."""
BARE = "bare.example"
"""Has an address, and no SPF record."""
NOWHERE = "nowhere.example"
EXPLANATION = "why.example"
"""They fetch it; a check of ours never does (T15)."""
ELSEWHERE = (BARE, BARE, NOWHERE, "x.bare.example", "broken.example")
CLIENTS = ("192.0.2.1", "192.0.2.130", "2001:db8::1")
SENDERS = ("ann@a.example", "bob-x.y@b.example", '"a@b"@a.example', "@c.example", "")
HELO = "sub.a.example"

WHOLE_SPECS = ("%{d}", "%{o}", "%{d2}", "_%{ir}.%{v}._spf.%{d}", "%{d1}", "%{d9}.", "a.%%.example")
BAD_TERMS = [
    "ip4:192.0.2.256",
    "ip4:192.0.2.1/33",
    "ip4:192.0.2.01",
    "ip6:2001:db8:::1",
    "ip6:::1/129",
    "a/33",
    "a//129",
    "a/",
    "mx:",
    "include",
    "-include",
    "exists",
    "-exists",
    "+",
    "all:a.example",
    "all/8",
    "-all.",
    "bogus",
    "exists:%{z}.a.example",
    "exists:%{d0}.a.example",
    "exists:%{d",
    "exp=",
    "--all",
    "exists:%{c}.a.example",
    "exists:100%.a.example",
    "a:a.example.1",
    "a:localhost",
    "redirect=",
    "=x",
    "1x=y",
    "a:b.example,",
    "ptr/24",
    "x=%{x}",
    "include:a.example/24",
    "ip4",
    "ip6:192.0.2.1",
    "ip4:2001:db8::1",
    "mx:%{d}x",
    "exists:%{dx}.example",
    "exists:%{d!}.example",
    "a:/24",
    "?",
]
ODD_TERMS = (
    "x=y",
    "x=%{d}",
    "x=y x=z",
    "ALL",
    "IP4:192.0.2.1",
    "A:B.example",
    "mx/0",
    "a/0//0",
    f"Exp={EXPLANATION}",
    " ",
)
NETWORKS = (
    "ip4:192.0.2.1",
    "ip4:192.0.2.128/25",
    "ip6:2001:db8::/32",
    "ip6:2001:db8::1",
    "ip4:198.51.100.0/24",
)
PREFIXES = ("", "", "", "/24", "//64", "/25//32")


@pytest.fixture
def nameserver() -> Iterator[NameServer]:
    with NameServer() as running:
        zone = running.zone
        zone.a(BARE, "192.0.2.1")
        zone.misbehave("broken.example", Behaviour.SERVFAIL)
        for name in NAMES[:2]:  # where some macros lead
            zone.a(f"192.0.2.1.{name}", "127.0.0.2")
            zone.a(f"ann.{name}", "127.0.0.2")
        yield running


@pytest.mark.timeout(900)  # ten thousand in the long run
def test_spftrace_comes_to_the_same_result_by_the_same_questions(
    nameserver: NameServer, long_run: bool
) -> None:
    results: Counter[str] = Counter()
    for seed in range(10_000 if long_run else 500):
        random = Random(seed)
        publish(nameserver.zone, random)
        client, mail_from = random.choice(CLIENTS), random.choice(SENDERS)

        (ours, answers), theirs = asyncio.run(judge(nameserver, client, mail_from))

        told = (seed, client, mail_from, ours, theirs.to_dict())
        if not is_known_difference(ours, answers, theirs):
            assert ours.result == theirs.verdict, told
            assert questions(answers) == asked(theirs), told
        results[ours.result] += 1
    assert all(
        results[word] for word in ("pass", "fail", "softfail", "neutral", "none", "temperror", "permerror")
    )


def is_known_difference(ours: SpfResult, answers: Answers, theirs: Result) -> bool:
    """Where the RFC leaves a choice.

    What is looked up in vain again counts again here, as in pyspf (section 4.6.4 speaks of terms), and once there. For
    ``%{p}`` they look at every name of the client, and not only until one will do.
    """
    went_on = theirs.void_lookups_used <= 2 or asked(theirs) > questions(answers)
    again = ours.reason == "more than 2 void lookups" and went_on
    return again or "%{p" in str(theirs.to_dict()).lower()


def questions(answers: Answers) -> set[tuple[str, str]]:
    """Those whose answers were read; names of one label they don't look up."""
    return {(question.name, question.rdtype) for question in answers.used if "." in question.name}


def asked(theirs: Result) -> set[tuple[str, str]]:
    names = {(query.name.lower().rstrip("."), query.rtype) for query in theirs.queries}
    return names - {(EXPLANATION, "TXT")}


# ---- the generated DNS ------------------------------------------------------------


def publish(zone: Zone, random: Random) -> None:
    for place, name in enumerate(NAMES):
        texts = [record(random, place) for _ in range(random.choices((0, 1, 2), (1, 40, 1))[0])]
        zone.txt(name, "unrelated", *texts)
        put(zone, name, "A", some(random, ("192.0.2.1", "192.0.2.129", "198.51.100.7", "203.0.113.9")))
        put(zone, name, "AAAA", some(random, ("2001:db8::1", "2001:db8::ff", "fe80::1", "fe80::2")))
        exchangers = sorted(some(random, (*NAMES, BARE, NOWHERE)))
        put(zone, name, "MX", [f"{place} {host}." for place, host in enumerate(exchangers)])
    for client in CLIENTS:
        pointers = some(random, (*NAMES, BARE, NOWHERE))
        put(zone, ip_address(client).reverse_pointer, "PTR", [f"{host}." for host in pointers])


def put(zone: Zone, name: str, record_type: str, values: list[str]) -> None:
    if values:
        zone.set(name, record_type, *values)
    else:
        zone.remove(name, record_type)


def some(random: Random, values: tuple[str, ...]) -> list[str]:
    return random.sample(values, random.randrange(3))


def record(random: Random, place: int) -> str:
    """Of the name at *place*; mostly leads to names behind it, or most would lead back to where they came from."""
    terms = [random.choice("    +-~?").strip() + mechanism(random, place) for _ in range(random.randrange(6))]
    if random.random() < 0.1:
        terms.insert(random.randrange(len(terms) + 1), random.choice(ODD_TERMS))
    if random.random() < 0.03:
        terms.insert(random.randrange(len(terms) + 1), random.choice(BAD_TERMS))
    end = random.choices(("-all", "~all", "?all", "", f"redirect={spec(random, place)}"), (4, 2, 1, 1, 3))[0]
    version = random.choices(("v=spf1", "V=SPF1", "v=spf1 ", "v=spf10"), (50, 1, 1, 1))[0]
    return " ".join([version, *terms, end])


def mechanism(random: Random, place: int) -> str:
    match random.choices(("include", "exists", "address", "ptr", "network"), (4, 3, 4, 1, 2))[0]:
        case "include":
            return f"include:{spec(random, place)}"
        case "exists":
            return f"exists:{macro_spec(random)}"
        case "address":
            own = random.choice(["", f":{spec(random, place)}", f":{random.choice(ELSEWHERE)}"])
            return random.choice(["a", "mx"]) + own + random.choice(PREFIXES)
        case "ptr":
            return random.choice(["ptr", f"ptr:{spec(random, place)}"])
        case _:
            return random.choice(NETWORKS)


def spec(random: Random, place: int) -> str:
    chance = random.random()
    if chance < 0.05:
        return random.choice(ELSEWHERE)
    if chance < 0.1:
        return random.choice(WHOLE_SPECS)
    if chance < 0.15:
        return macro_spec(random)
    return random.choice(NAMES[place + 1 :] or NAMES)


def macro_spec(random: Random) -> str:
    letter, reverse = random.choice("slodivhsldiSLDIVHp"), random.choice(["", "", "r", "R"])
    digits, delimiters = (
        random.choice(["", "", "1", "2", "3", "02", "128"]),
        random.choice(["", "", "-", ".", "-.", "+/_=,"]),
    )
    return f"%{{{letter}{digits}{reverse}{delimiters}}}.{random.choice(NAMES)}"


# ---- both judges ------------------------------------------------------------------


class Sorting(LiveResolver):
    """The name server gives records in any order; both are to go through them in the same."""

    async def _lookup(self, name: str, rtype: str) -> tuple[str, list[str]]:
        code, records = await super()._lookup(name, rtype)
        return code, sorted(records)


async def judge(
    nameserver: NameServer, client: str, mail_from: str
) -> tuple[tuple[SpfResult, Answers], Result]:
    live = Sorting(["127.0.0.1"], timeout=5)
    live.resolver.port = nameserver.port
    theirs = await Evaluator(live, Limits(max_queries=None)).evaluate(client, mail_from, HELO)
    return await check(nameserver, client, mail_from), theirs


async def check(nameserver: NameServer, client: str, mail_from: str) -> tuple[SpfResult, Answers]:
    resolver, answers = Resolver(nameserver.address), Answers()
    try:
        while True:
            try:
                return check_spf(ip_address(client), HELO, mail_from, answers), answers
            except Missing as missing:
                for question in missing.questions:
                    answer = await resolver.resolve(question, float("inf"))
                    answers.add(question, replace(answer, records=tuple(sorted(answer.records))))
    finally:
        await resolver.close()
