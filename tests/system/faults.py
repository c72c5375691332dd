"""What the tests of a store in trouble share: one message of each fate, what is counted, and mounts."""

import contextlib
import os
import random
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import select

from appliance.lab.gateway import AUTHSERV_ID, Gateway
from appliance.lab.services import wait_for
from appliance.store import nodes
from appliance.store.schema import quarantine
from tests.conftest import cannot_run
from tests.processes import children_of
from tests.system.mixed_mail import EXEMPT, NONE, PASS, QUARANTINE, REJECT, UNUSABLE, Mail, lay_out, recorded

RECORDED = {"pass": 250, "none": 250, "reject": 550, "quarantine": 250, "unusable From": 250}
UNRECORDED = RECORDED | {"quarantine": 451, "unusable From": 451}
"""The replies while the store can't be written: what would be quarantined has to come again."""

_numbers = count()


@dataclass
class Round:
    """One message of each fate, sent at the same time, each once."""

    gateway: Gateway
    mails: dict[str, Mail]

    @property
    def codes(self) -> dict[str, int]:
        return {name: mail.final.code for name, mail in self.mails.items()}

    def assert_filtered(self) -> None:
        """Whatever was delivered bears our results and no forged ones."""
        for name in ("pass", "none"):
            queue_id = self.mails[name].final.queue_id
            delivered = self.gateway.inside.wait_for(queue_id=queue_id, seconds=30)
            [results] = delivered.texts("Authentication-Results")
            assert results.startswith(f"{AUTHSERV_ID};")
            assert "forged.test" not in results

    def recorded(self) -> set[str]:
        """Of which there are events."""
        found = {one.message_id for one in recorded(self.gateway, *self.mails.values())}
        return {name for name, mail in self.mails.items() if mail.message_id in found}


def prepare(gateway: Gateway) -> None:
    lay_out(gateway.zone)
    gateway.save(verification__enabled=True, verification__exceptions=[EXEMPT])


def send_round(gateway: Gateway) -> Round:
    mails = {kind.name: Mail(next(_numbers), kind) for kind in (PASS, NONE, REJECT, QUARANTINE, UNUSABLE)}
    with ThreadPoolExecutor(len(mails)) as pool:
        list(pool.map(lambda mail: mail.send(gateway), mails.values()))
    return Round(gateway, mails)


def await_recovery(gateway: Gateway) -> Round:
    """Send rounds until one is recorded as ever; the filter is not restarted."""
    rounds: list[Round] = []

    def recorded() -> bool:
        rounds.append(send_round(gateway))
        return rounds[-1].codes == RECORDED and rounds[-1].recorded() == RECORDED.keys()

    wait_for("a store in use again", recorded, gateway.service("filter"), seconds=60)
    return rounds[-1]


def held(gateway: Gateway) -> set[str]:
    """The Message-IDs in quarantine."""
    with gateway.store.read() as connection:
        return set(connection.scalars(select(quarantine.c.message_id)))


def logged(gateway: Gateway) -> str:
    return gateway.service("filter").log.read_text(encoding="utf-8", errors="replace")


def unrecorded_lines(gateway: Gateway) -> int:
    """How many messages the log calls unrecorded."""
    return len(re.findall(r"^dmarc .*\bunrecorded=True", logged(gateway), re.MULTILINE))


def unrecorded_counted(gateway: Gateway) -> int:
    """The same by the counters that the workers tell."""
    with gateway.store.read() as connection:
        return sum(status.counters.get("unrecorded", 0) for status in nodes.list_nodes(connection))


def kill_all_workers(gateway: Gateway) -> None:
    """And return when others are there in their place."""
    supervisor = gateway.service("filter").pid
    before = children_of(supervisor)
    for pid in before:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_for(
        "new workers", lambda: bool((now := children_of(supervisor)) and now.isdisjoint(before)), seconds=30
    )


def kill_a_worker_each_second(gateway: Gateway, over: threading.Event) -> list[int]:
    """Until told to end; who was killed."""
    killed = []
    while not over.wait(1.0):
        if workers := sorted(children_of(gateway.service("filter").pid)):
            victim = random.choice(workers)
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                killed.append(victim)
    return killed


@contextlib.contextmanager
def mounted(*arguments: str, at: Path) -> Iterator[None]:
    """Something mounted at a new folder. Where the kernel forbids it the test is skipped, even in CI."""
    at.mkdir()
    made = subprocess.run(
        ["mount", *arguments, str(at)], capture_output=True, text=True, check=False, env=_english()
    )
    if made.returncode:
        if re.search("permission denied|not permitted|superuser|failed to setup loop", made.stderr):
            pytest.skip(f"nothing can be mounted here: {made.stderr.strip()}")
        cannot_run(f"mount {' '.join(arguments)}: {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


def _english() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C"}
