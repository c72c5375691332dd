"""The resolver, with a real name server: answers, trouble told apart from "no such record", and the cache."""

import asyncio
import time

import pytest

from appliance.lab.nameserver import Behaviour, NameServer, Zone
from appliance.resolver import (
    DEADLINE_PASSED,
    MAX_RECORDS,
    TOO_MANY,
    Answer,
    Question,
    RecordType,
    Resolver,
    Status,
    parse_nameserver,
)

TXT = RecordType.TXT


async def ask(resolver: Resolver, *questions: Question, seconds: float = 10) -> list[Answer]:
    deadline = time.monotonic() + seconds
    return list(await asyncio.gather(*(resolver.resolve(question, deadline) for question in questions)))


def one(
    nameserver: NameServer, name: str, rdtype: RecordType = TXT, *, timeout: float = 2, attempts: int = 1
) -> Answer:
    async def run() -> Answer:
        resolver = Resolver(nameserver.address, query_timeout_seconds=timeout, attempts=attempts)
        [answer] = await ask(resolver, Question(name, rdtype))
        await resolver.close()
        return answer

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("rdtype", "value", "expected"),
    [
        pytest.param(RecordType.A, "192.0.2.1", b"192.0.2.1", id="A"),
        pytest.param(RecordType.AAAA, "2001:DB8::1", b"2001:db8::1", id="AAAA"),
        pytest.param(RecordType.MX, "10 Mx.Example.", b"10 mx.example", id="MX"),
        pytest.param(RecordType.MX, "0 .", b"0 .", id="null MX"),
        pytest.param(RecordType.PTR, "Host.Example.", b"host.example", id="PTR"),
        pytest.param(RecordType.TXT, '"v=DMARC1; p=re" "ject"', b"v=DMARC1; p=reject", id="TXT DISC-02"),
        pytest.param(RecordType.TXT, r'"\000\255"', b"\x00\xff", id="TXT of any octets"),
    ],
)
def test_records_come_in_one_plain_form(
    nameserver: NameServer, rdtype: RecordType, value: str, expected: bytes
) -> None:
    nameserver.zone.set("a.example", rdtype, value)

    answer = one(nameserver, "a.example", rdtype)

    assert answer == Answer(Status.RECORDS, (expected,), ttl_seconds=60)


def test_no_such_name_and_no_data_are_answers_and_differ(nameserver: NameServer) -> None:
    nameserver.zone.txt("a.example", "x")

    assert one(nameserver, "b.example").status is Status.NXDOMAIN
    assert one(nameserver, "a.example", RecordType.A).status is Status.NO_DATA
    assert one(nameserver, "example").status is Status.NO_DATA


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        pytest.param(Behaviour.SERVFAIL, "SERVFAIL", id="SERVFAIL"),
        pytest.param(Behaviour.REFUSED, "REFUSED", id="REFUSED"),
        pytest.param(Behaviour.FORMERR, "FORMERR", id="FORMERR"),
        pytest.param(Behaviour.SILENCE, "timeout", id="silence"),
        pytest.param(Behaviour.GARBAGE, "timeout", id="garbage"),
        pytest.param(Behaviour.WRONG_ID, "timeout", id="answers to another query"),
        pytest.param(Behaviour.TRUNCATED, "malformed answer (EOFError)", id="no answer by TCP"),
        pytest.param(
            Behaviour.TRUNCATED_EVERYWHERE, "truncated or malformed answer", id="truncated by TCP too"
        ),
    ],
)
def test_trouble_is_temporary_and_never_no_record(
    nameserver: NameServer, behaviour: Behaviour, reason: str
) -> None:
    """DISC-43, T20, F10."""
    nameserver.zone.txt("a.example", "x")
    nameserver.zone.misbehave("a.example", behaviour)

    answer = one(nameserver, "a.example", timeout=0.2)

    assert answer == Answer(Status.TEMPORARY, reason=reason)


def test_a_name_server_that_is_down_is_noticed_at_once() -> None:
    with NameServer() as nameserver:
        address = nameserver.address

    async def run() -> Answer:
        return (await ask(Resolver(address, query_timeout_seconds=60), Question("a.example", TXT)))[0]

    answer = asyncio.run(run())

    assert answer.status is Status.TEMPORARY
    assert answer.reason.startswith("name server not reachable")


def test_a_failure_is_tried_again_before_it_is_told(nameserver: NameServer) -> None:
    nameserver.zone.misbehave("a.example", Behaviour.SERVFAIL)

    one(nameserver, "a.example", attempts=2)

    assert nameserver.count("a.example", "TXT") == 2


def test_a_forged_datagram_is_passed_over(nameserver: NameServer) -> None:
    nameserver.zone.txt("a.example", "right")
    nameserver.zone.misbehave("a.example", Behaviour.FORGED_FIRST)

    assert one(nameserver, "a.example").records == (b"right",)


def test_a_long_answer_is_fetched_by_tcp(nameserver: NameServer) -> None:
    nameserver.zone.txt("a.example", "x" * 4000)

    answer = one(nameserver, "a.example")

    assert answer.records == (b"x" * 4000,)
    assert [query.transport for query in nameserver.queries] == ["udp", "tcp"]


def test_t19_an_answer_of_64_kb_is_refused_before_it_is_parsed(nameserver: NameServer) -> None:
    """Four thousand records would cost a fifth of a second."""
    nameserver.zone.a("a.example", *(f"10.0.{n // 250}.{n % 250}" for n in range(4000)))

    assert one(nameserver, "a.example", RecordType.A) == Answer(Status.TEMPORARY, reason=TOO_MANY)


def test_too_many_records_are_no_answer(nameserver: NameServer) -> None:
    """T19."""
    nameserver.zone.txt("a.example", *(f"{number}" for number in range(MAX_RECORDS + 1)))

    assert one(nameserver, "a.example") == Answer(Status.TEMPORARY, reason="more than 100 records")


def test_cnames_are_followed(nameserver: NameServer) -> None:
    """DISC-01."""
    zone = nameserver.zone
    zone.cname("a.example", "b.example")
    zone.cname("b.example", "c.example")
    zone.txt("c.example", "x")
    zone.cname("dangling.example", "nowhere.test")

    assert one(nameserver, "a.example").records == (b"x",)
    assert one(nameserver, "dangling.example").status is Status.NXDOMAIN


def test_a_cname_loop_is_temporary(nameserver: NameServer) -> None:
    nameserver.zone.cname("a.example", "b.example")
    nameserver.zone.cname("b.example", "a.example")

    answer = one(nameserver, "a.example")

    assert answer == Answer(Status.TEMPORARY, reason="malformed answer (ChainTooLong)")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("a..example", id="empty label"),
        pytest.param("", id="no label"),
        pytest.param("x" * 64 + ".example", id="label of 64"),
        pytest.param(".".join(["x" * 63] * 4), id="more than 255 octets"),
        pytest.param("b\u00fccher.example", id="not ASCII"),
        pytest.param("\udce9.example", id="undecodable"),
    ],
)
def test_a_name_that_can_not_be_asked_for_does_not_exist(nameserver: NameServer, name: str) -> None:
    assert one(nameserver, name).status is Status.NXDOMAIN
    assert not nameserver.queries


def test_odd_characters_go_over_the_wire_unchanged(nameserver: NameServer) -> None:
    one(nameserver, "o'neil @\\.example")

    assert nameserver.count("o'neil\\032\\@\\\\.example", "TXT") == 1


def test_a_question_asked_many_times_at_once_is_sent_once(nameserver: NameServer) -> None:
    """S3, DISC-26: one query in flight for each question, across messages too."""
    nameserver.zone.txt("a.example", "x")
    nameserver.hold()

    async def run() -> list[Answer]:
        resolver = Resolver(nameserver.address, cache=False)
        asking = asyncio.create_task(ask(resolver, *[Question("a.example", TXT)] * 20))
        await asyncio.sleep(0.05)
        nameserver.release()
        return await asking

    answers = asyncio.run(run())

    assert [answer.records for answer in answers] == [(b"x",)] * 20
    assert nameserver.count("a.example", "TXT") == 1


def test_who_gives_up_or_is_cancelled_does_not_spoil_it_for_others(nameserver: NameServer) -> None:
    nameserver.zone.txt("a.example", "x")
    nameserver.hold()
    question = Question("a.example", TXT)

    async def run() -> tuple[Answer, Answer, Answer | None]:
        resolver = Resolver(nameserver.address)
        cancelled = asyncio.create_task(resolver.resolve(question, time.monotonic() + 10))
        patient = asyncio.create_task(resolver.resolve(question, time.monotonic() + 10))
        hasty = await resolver.resolve(question, time.monotonic() + 0.05)
        cancelled.cancel()
        await asyncio.sleep(0)
        nameserver.release()
        answer = await patient
        assert cancelled.cancelled()
        return hasty, answer, resolver.cached(question)

    hasty, answer, cached = asyncio.run(run())

    assert hasty == Answer(Status.TEMPORARY, reason=DEADLINE_PASSED)
    assert answer.records == (b"x",)
    assert cached == answer


def test_closing_answers_those_who_wait(nameserver: NameServer) -> None:
    nameserver.hold()

    async def run() -> Answer:
        resolver = Resolver(nameserver.address)
        waiting = asyncio.create_task(resolver.resolve(Question("a.example", TXT), time.monotonic() + 10))
        await asyncio.sleep(0.05)
        await resolver.close()
        return await waiting

    assert asyncio.run(run()).status is Status.TEMPORARY


def repeated(nameserver: NameServer, name: str, **kwargs: int | bool) -> tuple[Answer | None, int]:
    """Ask twice, one after the other; what is known without waiting after the first, and the queries it took."""

    async def run() -> Answer | None:
        resolver = Resolver(nameserver.address, attempts=1, **kwargs)  # type: ignore[arg-type]
        question = Question(name, TXT)
        await ask(resolver, question)
        cached = resolver.cached(question)
        await ask(resolver, question)
        return cached

    return asyncio.run(run()), nameserver.count(name, "TXT")


def test_answers_are_kept_for_their_ttl(nameserver: NameServer) -> None:
    """DISC-26."""
    nameserver.zone.txt("a.example", "x")

    cached, queries = repeated(nameserver, "a.example")

    assert cached is not None
    assert cached.records == (b"x",)
    assert queries == 1


def test_no_such_name_is_kept_for_the_negative_ttl() -> None:
    """DISC-26, RFC 2308."""
    with NameServer(Zone(ttl_seconds=30)) as nameserver:
        cached, queries = repeated(nameserver, "a.example")

    assert cached == Answer(Status.NXDOMAIN, ttl_seconds=30)
    assert queries == 1


@pytest.mark.parametrize(
    ("ttl", "options"),
    [
        pytest.param(0, {}, id="TTL of nought"),
        pytest.param(60, {"cache": False}, id="cache switched off"),
        pytest.param(60, {"positive_ttl_cap_seconds": 0}, id="cap of nought"),
    ],
)
def test_what_may_not_be_kept_is_asked_again(ttl: int, options: dict[str, int]) -> None:
    with NameServer(Zone("a.example. TXT x", ttl_seconds=ttl)) as nameserver:
        cached, queries = repeated(nameserver, "a.example", **options)

    assert cached is None
    assert queries == 2


def test_a_failure_is_not_kept(nameserver: NameServer) -> None:
    nameserver.zone.misbehave("a.example", Behaviour.SERVFAIL)

    cached, queries = repeated(nameserver, "a.example")

    assert cached is None
    assert queries == 2


def test_the_cache_forgets_what_was_not_used_for_longest(nameserver: NameServer) -> None:
    names = [Question(f"{letter}.example", TXT) for letter in "abc"]

    async def run() -> list[bool]:
        resolver = Resolver(nameserver.address, cache_entries=2)
        await ask(resolver, names[0])
        await ask(resolver, names[1])
        resolver.cached(names[0])
        await ask(resolver, names[2])
        return [resolver.cached(name) is not None for name in names]

    assert asyncio.run(run()) == [True, False, True]


def test_t19_the_cache_holds_few_large_answers(nameserver: NameServer) -> None:
    """A zone of 64 kB answers must not fill the memory."""
    names = [Question(f"{letter}.example", TXT) for letter in "abcd"]
    for name in names:
        nameserver.zone.txt(name.name, "x" * 1000)

    async def run() -> list[bool]:
        resolver = Resolver(nameserver.address, cache_octets=2500)
        for name in (*names[:3], names[1], names[3]):
            await ask(resolver, name)
        return [resolver.cached(name) is not None for name in names]

    assert asyncio.run(run()) == [False, True, False, True]


def test_t19_what_nobody_waits_for_any_more_is_not_asked(nameserver: NameServer) -> None:
    """Questions that queued up behind a silent zone would hold up those of honest mail."""
    nameserver.zone.misbehave("silent.example", Behaviour.SILENCE)
    nameserver.zone.txt("a.example", "x")

    async def run() -> list[Answer]:
        resolver = Resolver(nameserver.address, query_timeout_seconds=0.3, attempts=1, max_in_flight=1)
        blocking = asyncio.create_task(ask(resolver, Question("silent.example", TXT)))
        await asyncio.sleep(0)
        given_up = await ask(resolver, *(Question(f"b{n}.example", TXT) for n in range(20)), seconds=0.05)
        patient = await ask(resolver, Question("a.example", TXT))
        await blocking
        await resolver.close()
        return [*given_up, *patient]

    *given_up, patient = asyncio.run(run())

    assert {answer.reason for answer in given_up} == {DEADLINE_PASSED}
    assert patient.records == (b"x",)
    assert nameserver.count() == 2


def test_queries_hits_and_failures_are_counted(nameserver: NameServer) -> None:
    nameserver.zone.txt("a.example", "x")
    nameserver.zone.misbehave("b.example", Behaviour.SERVFAIL)

    async def run() -> tuple[int, int, int]:
        resolver = Resolver(nameserver.address)
        await ask(resolver, Question("a.example", TXT), Question("b.example", TXT))
        await ask(resolver, Question("a.example", TXT))
        return resolver.counters.queries, resolver.counters.cache_hits, resolver.counters.temporary

    assert asyncio.run(run()) == (2, 1, 1)


@pytest.mark.parametrize("text", ["127.0.0.1", "localhost:53", "127.0.0.1:0", "127.0.0.1:x", ":53", "[::1]"])
def test_a_name_server_must_be_an_address_with_a_port(text: str) -> None:
    with pytest.raises(ValueError, match=r"write ADDRESS:PORT, for example 127\.0\.0\.1:53"):
        parse_nameserver(text)


def test_a_name_server_may_have_an_ipv6_address() -> None:
    assert parse_nameserver("[::1]:5353") == ("::1", 5353)
