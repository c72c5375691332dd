"""The CPU budget of a message: what costs too much is given up, and nothing else suffers (threats T11, decision 1)."""

import asyncio
import base64
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from appliance.filter.budget import BudgetExceeded, CpuBudget, watch_cpu
from appliance.filter.handler import Handler
from appliance.lab.nameserver import NameServer
from appliance.milter.replies import Accept, Refuse, Reply
from appliance.policy import LocalPolicy
from appliance.quarantine import Quarantine
from appliance.resolver import Resolver
from appliance.settings import Settings, from_document
from appliance.store import events
from appliance.store.engine import Store, open_store
from appliance.store.recorder import Recorder
from tests.checks.mails import received

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def _watched() -> Iterator[None]:
    before = signal.getsignal(signal.SIGPROF)
    watch_cpu()

    yield

    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0), "no timer runs on outside of a stretch"
    signal.signal(signal.SIGPROF, before)


def spend(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def spend_in_parts(budget: CpuBudget) -> Iterator[None]:
    """Each part alone would stay within it."""
    for _ in range(100):
        with budget:
            spend(0.05)
        yield


def spend_without_end() -> None:
    while True:
        pass


def test_t11_work_without_end_is_interrupted() -> None:
    with pytest.raises(BudgetExceeded), CpuBudget(0.05):
        spend_without_end()


def test_t11_the_parts_of_a_message_are_added_up() -> None:
    budget = CpuBudget(0.3)
    parts = spend_in_parts(budget)

    with pytest.raises(BudgetExceeded):
        list(parts)

    with pytest.raises(BudgetExceeded), budget:
        pytest.fail("nothing is left")


def test_t11_waiting_and_the_work_of_others_cost_nothing() -> None:
    budget = CpuBudget(0.1)

    for _ in range(5):
        with budget:
            time.sleep(0.05)
        spend(0.05)

    with budget:
        pass


def swallows() -> None:
    """As libraries do, with a bare ``except:``."""
    try:
        spend_without_end()
    except:  # noqa: E722
        return


def swallows_and_fails() -> None:
    swallows()
    raise ValueError("what a library makes of it")


@pytest.mark.parametrize("work", [swallows, swallows_and_fails])
def test_t11_a_caught_interruption_is_not_taken_for_a_result(work: Callable[[], None]) -> None:
    budget = CpuBudget(0.05)

    with pytest.raises(BudgetExceeded), budget:
        work()

    with pytest.raises(BudgetExceeded), budget:
        pass


# ---- through the handler --------------------------------------------------------

HONEST = b"From: ann@example.org\r\nSubject: hello\r\n\r\nHello\r\n"


def costly() -> bytes:
    """10 MB under ten signatures that each want another part of the body hashed."""
    signatures = b"".join(
        b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/%s; d=d%d.example; s=s; l=%d; h=from; bh=YWJj; b=YWJj\r\n"
        % (b"relaxed" if number % 2 else b"simple", number, 9_000_000 + number)
        for number in range(10)
    )
    return signatures + HONEST + b"two  spaces \t and more\r\n" * 420_000


@dataclass
class Policies:
    settings: Settings

    def current(self) -> LocalPolicy:
        return LocalPolicy(self.settings, 1)


@dataclass
class Judge:
    """A handler with all that belongs to it."""

    handler: Handler
    store: Store

    async def __call__(self, octets: bytes) -> Reply:
        return await self.handler.handle(received(octets))

    def recorded(self) -> int:
        with self.store.read() as connection:
            return events.count(connection)


@pytest.fixture(scope="module")
def key_record() -> bytes:
    public = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return b"v=DKIM1; p=" + base64.b64encode(der)


@asynccontextmanager
async def judge(
    folder: Path, nameserver: NameServer, *, cpu_seconds: float = 2.0, failure: str = "defer"
) -> AsyncIterator[Judge]:
    document = {"verification": {"enabled": True, "engine_failure": failure}}
    store = open_store(f"sqlite:///{folder}/gate.db", create=True)
    recorder, resolver = Recorder(store), Resolver(nameserver.address)
    handler = Handler(
        node="gateway.example",
        authserv_id=None,
        policies=Policies(from_document(document)),
        resolver=resolver,
        recorder=recorder,
        quarantine=Quarantine(folder),
        cpu_seconds=cpu_seconds,
    )
    try:
        yield Judge(handler, store)
    finally:
        await recorder.close()
        await resolver.close()
        store.close()


def publish_keys(nameserver: NameServer, record: bytes) -> None:
    for number in range(10):
        nameserver.zone.txt(f"s._domainkey.d{number}.example", record)


def test_t11_a_message_that_costs_too_much_is_put_off_and_the_others_are_judged(
    tmp_path: Path, nameserver: NameServer, key_record: bytes
) -> None:
    publish_keys(nameserver, key_record)
    big = costly()

    async def run() -> tuple[Sequence[Reply], Reply, int]:
        async with judge(tmp_path, nameserver, cpu_seconds=0.04) as handle:
            await handle(HONEST)  # what is done once is done
            together = await asyncio.gather(handle(big), handle(HONEST), handle(HONEST))
            return together, await handle(HONEST), handle.recorded()

    (put_off, *others), after, recorded = asyncio.run(run())

    assert put_off == Refuse("451 4.7.1 The mail filter could not check this message, try again later")
    assert [type(reply) for reply in (*others, after)] == [Accept] * 3
    assert recorded == 4


def test_t11_by_the_setting_it_is_let_through_marked_temperror(
    tmp_path: Path, nameserver: NameServer, key_record: bytes
) -> None:
    publish_keys(nameserver, key_record)
    big = b"Authentication-Results: gateway.example; dmarc=pass\r\n" + costly()

    async def run() -> Reply:
        async with judge(tmp_path, nameserver, cpu_seconds=0.04, failure="deliver") as handle:
            return await handle(big)

    reply = asyncio.run(run())

    assert isinstance(reply, Accept)
    assert reply.delete == (0,)
    assert [field.value for field in reply.insert] == [b" gateway.example;\r\n dmarc=temperror"]


def test_t11_the_dearest_message_stays_within_the_budget(
    tmp_path: Path, nameserver: NameServer, key_record: bytes
) -> None:
    """10 MB, ten signatures in force: the budget of two seconds is for what nobody has thought of."""
    publish_keys(nameserver, key_record)

    async def run() -> tuple[Reply, int]:
        async with judge(tmp_path, nameserver) as handle:
            return await handle(costly()), handle.recorded()

    reply, recorded = asyncio.run(run())

    assert isinstance(reply, Accept)
    assert recorded == 1
