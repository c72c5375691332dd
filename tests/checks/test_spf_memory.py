"""SPF results of earlier messages: used while the DNS says the same, and never for a message they don't fit."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

import pytest

from appliance.checks.answers import Answers
from appliance.checks.authenticate import Assessment, assess, authenticate
from appliance.checks.options import CheckOptions
from appliance.checks.spf import evaluate_spf
from appliance.checks.spf_memory import MAX_OCTETS, SpfMemory
from appliance.lab.nameserver import Behaviour, NameServer
from appliance.mail.authentication import SpfWord
from appliance.resolver import Answer, Question, RecordType, Resolver, Status
from tests.checks.mails import NOW, PLAIN, answered, received

ORG = "example.org"
CLIENT = "192.0.2.1"


@dataclass
class Worker:
    """Judges messages one after the other, as a worker of the filter does; with and without a memory."""

    nameserver: NameServer
    resolver: Resolver
    memory: SpfMemory

    async def judge(
        self,
        mail_from: str = "ann@example.org",
        *,
        client: str = CLIENT,
        helo: str = "mx.example.org",
        **options: Any,
    ) -> Assessment:
        """Fails unless the memory makes no difference."""
        arguments: dict[str, Any] = {
            "client_ip": ip_address(client),
            "helo": helo,
            "author_domains": (ORG,),
            "now": NOW,
        }
        arguments["options"] = CheckOptions(**options)
        message = received(PLAIN, mail_from=mail_from)
        found = await authenticate(message, resolver=self.resolver, spf_memory=self.memory, **arguments)
        plain = await authenticate(message, resolver=self.resolver, **arguments)
        assert found == plain
        assert list(found.answers) == list(plain.answers)
        return found

    def recalls(
        self, mail_from: str = "ann@example.org", *, client: str = CLIENT, helo: str = "mx.example.org"
    ) -> bool:
        return self.memory.recall(ip_address(client), helo, mail_from) is not None


Scene = Callable[[Worker], Coroutine[Any, Any, None]]


@pytest.fixture
def play(nameserver: NameServer) -> Callable[[Scene], None]:
    """Run a scene in an event loop."""
    nameserver.zone.txt(ORG, "v=spf1 mx include:_spf.example.net -all")
    nameserver.zone.mx(ORG, "a.example.org", "b.example.org")
    nameserver.zone.a("a.example.org", "203.0.113.1")
    nameserver.zone.a("b.example.org", "203.0.113.2")
    nameserver.zone.txt("_spf.example.net", "v=spf1 ip4:192.0.2.0/24 -all")

    def play(scene: Scene) -> None:
        async def run() -> None:
            resolver = Resolver(nameserver.address, query_timeout_seconds=0.3, attempts=1)
            try:
                await scene(Worker(nameserver, resolver, SpfMemory(resolver.cached)))
            finally:
                await resolver.close()

        asyncio.run(run())

    return play


def test_a_second_message_gets_the_same_result_and_the_same_recorded_answers(
    play: Callable[[Scene], None],
) -> None:
    async def scene(worker: Worker) -> None:
        first = await worker.judge()
        asked = worker.nameserver.count()
        assert worker.recalls("another@example.org")

        second = await worker.judge("another@example.org")

        assert (second.authentication, second.answers) == (first.authentication, first.answers)
        assert second.authentication.spf.result is SpfWord.PASS
        assert worker.nameserver.count() == asked
        replayed = assess(
            received(PLAIN),
            client_ip=ip_address(CLIENT),
            helo="mx.example.org",
            author_domains=(ORG,),
            answers=second.answers,
            now=NOW,
        )
        assert replayed == second

    play(scene)


@pytest.mark.parametrize(
    ("mail_from", "client", "helo"),
    [
        pytest.param("ann@example.org", "192.0.2.2", "mx.example.org", id="client"),
        pytest.param("ann@sub.example.org", CLIENT, "mx.example.org", id="domain"),
        pytest.param("", CLIENT, "example.org", id="scope"),
        pytest.param("ann", CLIENT, "mx.example.org", id="no domain"),
    ],
)
def test_another_identity_is_another_check(
    play: Callable[[Scene], None], mail_from: str, client: str, helo: str
) -> None:
    async def scene(worker: Worker) -> None:
        await worker.judge()

        assert worker.recalls()
        assert not worker.recalls(mail_from, client=client, helo=helo)

    play(scene)


@pytest.mark.parametrize("name", [ORG, "_spf.example.net"])
def test_a_changed_record_is_seen_when_its_answer_has_lived(play: Callable[[Scene], None], name: str) -> None:
    async def scene(worker: Worker) -> None:
        await worker.judge()
        worker.nameserver.zone.txt(name, "v=spf1 ip4:203.0.113.0/24 -all")
        assert worker.recalls()

        forget(worker.resolver, Question(name, RecordType.TXT))

        assert not worker.recalls()
        assert (await worker.judge()).authentication.spf.result is SpfWord.FAIL
        assert worker.recalls()
        assert (await worker.judge()).authentication.spf.result is SpfWord.FAIL

    play(scene)


def test_a_renewed_answer_that_says_the_same_serves_again(play: Callable[[Scene], None]) -> None:
    async def scene(worker: Worker) -> None:
        question = Question(ORG, RecordType.TXT)
        await worker.judge()
        before = worker.resolver.cached(question)
        forget(worker.resolver, question)

        await worker.resolver.resolve(question, float("inf"))

        assert worker.resolver.cached(question) is not before
        assert worker.recalls()
        assert (await worker.judge()).answers[question] is worker.resolver.cached(question)

    play(scene)


@pytest.mark.parametrize("macro", ["%{s}", "%{l}", "%{L1r-}", "%{h}"])
def test_a_result_that_a_macro_of_the_sender_led_to_is_never_shared(
    play: Callable[[Scene], None], macro: str
) -> None:
    async def scene(worker: Worker) -> None:
        worker.nameserver.zone.txt(ORG, f"v=spf1 exists:{macro}.example.org -all")
        worker.nameserver.zone.a("ann.example.org", "127.0.0.2")

        await worker.judge("ann@example.org")

        assert not worker.recalls("ann@example.org")
        assert (await worker.judge("bob@example.org")).authentication.spf.result is SpfWord.FAIL

    play(scene)


@pytest.mark.parametrize("macro", ["%{i}", "%{d}", "%{o}", "%{v}", "%{p}"])
def test_the_other_macros_do_no_harm(play: Callable[[Scene], None], macro: str) -> None:
    async def scene(worker: Worker) -> None:
        worker.nameserver.zone.txt(ORG, f"v=spf1 exists:{macro}.example.org -all exp=%{{l}}.example.org")

        await worker.judge("ann@example.org")

        assert worker.recalls("bob@example.org")
        assert not worker.recalls("bob@example.org", client="192.0.2.2")

    play(scene)


def test_trouble_is_not_remembered(play: Callable[[Scene], None]) -> None:
    """Neither a temporary error, nor a result that trouble at the client's names led to."""

    async def scene(worker: Worker) -> None:
        zone = worker.nameserver.zone
        zone.misbehave("_spf.example.net", Behaviour.SERVFAIL)
        assert (await worker.judge()).authentication.spf.result is SpfWord.TEMPERROR
        assert not worker.recalls()
        zone.behave("_spf.example.net")
        assert (await worker.judge()).authentication.spf.result is SpfWord.PASS
        assert worker.recalls()

        zone.txt("ptr.example", "v=spf1 ptr ?all")
        zone.misbehave("1.2.0.192.in-addr.arpa", Behaviour.SERVFAIL)
        assert (await worker.judge("a@ptr.example")).authentication.spf.result is SpfWord.NEUTRAL
        assert not worker.recalls("a@ptr.example")

    play(scene)


@pytest.mark.parametrize("max_questions", range(12))
@pytest.mark.parametrize("limit", ["max_questions", "max_spf_questions"])
def test_t15_a_message_is_charged_the_same_questions(
    play: Callable[[Scene], None], limit: str, max_questions: int
) -> None:
    """Its verdict does not depend on what earlier messages left behind."""

    async def scene(worker: Worker) -> None:
        options: Any = {limit: max_questions}
        cold = await worker.judge(**options)
        full = await worker.judge()
        assert worker.recalls()

        warm = await worker.judge(**options)

        assert (warm, warm.exceeded) == (cold, cold.exceeded)
        assert full.exceeded == ""

    play(scene)


def test_without_a_cache_nothing_is_recalled(play: Callable[[Scene], None], nameserver: NameServer) -> None:
    async def scene(worker: Worker) -> None:
        resolver = Resolver(nameserver.address, cache=False)
        forgetful = replace(worker, resolver=resolver, memory=SpfMemory(resolver.cached))

        await forgetful.judge()
        asked = nameserver.count(ORG, "TXT")
        await forgetful.judge()

        assert nameserver.count(ORG, "TXT") == asked * 2
        assert not forgetful.recalls()
        await resolver.close()

    play(scene)


def keep(memory: SpfMemory, known: dict[Question, Answer], mail_from: str) -> None:
    client = ip_address(CLIENT)
    memory.keep(client, "", mail_from, evaluate_spf(client, "", mail_from, Answers(known)), ())


def test_the_least_recently_used_result_is_forgotten_first() -> None:
    known = answered({f"{n}.example": b"v=spf1 -all" for n in range(4)})
    memory = SpfMemory(known.get, entries=3)
    for n in range(3):
        keep(memory, known, f"a@{n}.example")
    memory.recall(ip_address(CLIENT), "", "b@0.example")

    keep(memory, known, "a@3.example")

    left = [n for n in range(4) if memory.recall(ip_address(CLIENT), "", f"c@{n}.example")]
    assert left == [0, 2, 3]
    assert len(memory) == 3


def test_a_result_with_much_behind_it_is_not_kept() -> None:
    """F4: the memory's size has a bound."""
    known = answered({ORG: [b"v=spf1 -all", b"x" * MAX_OCTETS], "small.example": b"v=spf1 -all"})
    memory = SpfMemory(known.get)

    keep(memory, known, "a@example.org")
    keep(memory, known, "a@small.example")

    assert len(memory) == 1


def test_an_answer_of_another_kind_is_another_answer() -> None:
    known = answered({ORG: Status.NXDOMAIN})
    memory = SpfMemory(known.get)
    keep(memory, known, "a@example.org")
    assert memory.recall(ip_address(CLIENT), "", "a@example.org")

    known |= answered({ORG: Status.NO_DATA})

    assert memory.recall(ip_address(CLIENT), "", "a@example.org") is None


def forget(resolver: Resolver, question: Question) -> None:
    """As if the answer's time had come."""
    del resolver._cache._known[question]
