"""No room for quarantined mail: that mail is put off, all other mail flows, and the log and the gauge say why (F7)."""

import contextlib
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from appliance.lab.gateway import Gateway
from appliance.lab.smtp import Reply, send_message
from appliance.node import read_node
from appliance.quarantine import Desk, measure
from appliance.store import events
from appliance.store import quarantine as rows
from tests.processes import children_of
from tests.system.conftest import INSIDE
from tests.system.faults import mounted

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

DISK = 1 << 20
LARGE = b"y" * 70 + b"\r\n"
_numbers = count()


@dataclass(frozen=True)
class Place:
    """A gateway, and what goes through it."""

    gateway: Gateway

    def send(self, domain: str, octets: int = 100) -> tuple[str, Reply]:
        name = f"<{next(_numbers)}@{domain}>"
        head = f"From: a@{domain}\r\nTo: u@{INSIDE}\r\nSubject: x\r\nMessage-ID: {name}\r\n\r\n".encode()
        reply = send_message(
            self.gateway.postfix.config.smtp_port,
            mail_from=f"a@{domain}",
            rcpt_to=[f"u@{INSIDE}"],
            octets=head + LARGE * (octets // len(LARGE) + 1),
            client_ip="192.0.2.66",
        )
        return name, reply

    def assert_delivered(self, name: str, reply: Reply) -> None:
        """With our mark, and recorded."""
        assert reply.code == 250
        message = self.gateway.inside.wait_for(message_id=name, seconds=30)
        assert "dmarc=none" in message.texts("Authentication-Results")[0]
        with self.gateway.store.read() as connection:
            assert name in [event.message_id for event in events.recent(connection, 10)]

    def held(self) -> int:
        with self.gateway.store.read() as connection:
            return rows.count_held(connection)

    def files(self) -> int:
        return sum(1 for _ in (self.gateway.directory / "quarantine").rglob("*.eml"))

    @property
    def log(self) -> str:
        return self.gateway.service("filter").log.read_text(encoding="utf-8", errors="replace")


@pytest.fixture
def place(tmp_path: Path, requires_postfix: None) -> Iterator[Place]:
    with Gateway(tmp_path, inside_domains=(INSIDE,), page=False) as gateway:
        gateway.zone.txt("_dmarc.forged.example", "v=DMARC1; p=quarantine")
        gateway.save(verification__enabled=True)
        yield Place(gateway)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small one of the quarantine's own."""
    with mounted("-t", "tmpfs", "-o", f"size={DISK}", "none", at=tmp_path / "quarantine"):
        yield tmp_path / "quarantine"


def test_f7_a_full_disk_puts_off_what_would_be_quarantined_and_nothing_else(disk: Path, place: Place) -> None:
    filler = disk / "filler"

    _, fits = place.send("forged.example")
    _, too_large = place.send("forged.example", octets=2 * DISK)
    with contextlib.suppress(OSError):
        filler.write_bytes(b"x" * DISK)
    _, no_room = place.send("forged.example", octets=20_000)
    name, other = place.send("good.example", octets=2 * DISK)
    desk = Desk.of(read_node(place.gateway.node_file), place.gateway.store)
    warning = measure(desk, place.gateway.settings()).warning
    filler.unlink()
    _, again = place.send("forged.example", octets=20_000)

    assert (fits.code, too_large.code, no_room.code, again.code) == (250, 451, 451, 250)
    place.assert_delivered(name, other)
    assert (place.held(), place.files()) == (2, 2)
    assert "no space is left for quarantined mail" in place.log
    assert warning.startswith("the disk of the quarantine is full")


def test_f7_a_limit_to_the_size_of_files_does_the_same(place: Place) -> None:
    """Where nothing can be mounted: the kernel refuses the worker's write all the same."""
    workers = children_of(place.gateway.service("filter").pid)
    database = max(path.stat().st_size for path in place.gateway.directory.glob("dmarcgate.db*"))
    limit = 4 * database  # so that only the message is too large

    _, fits = place.send("forged.example")
    for pid in workers:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    _, too_large = place.send("forged.example", octets=2 * limit)
    name, other = place.send("good.example", octets=2 * limit)
    for pid in workers:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    assert (fits.code, too_large.code) == (250, 451)
    place.assert_delivered(name, other)
    assert (place.held(), place.files()) == (1, 1)
    assert "no space is left for quarantined mail" in place.log
