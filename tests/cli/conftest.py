"""The command line called as an administrator calls it, over a store of this test alone."""

import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from appliance.cli import main
from appliance.lab.nameserver import NameServer
from appliance.settings import Settings
from appliance.store import settings
from appliance.store.engine import Store
from reporting.period import last_day
from tests.cli.commands import Done, Gate, OnTerminal
from tests.cli.yesterday import Yesterday
from tests.reporting.samples import save
from tests.reporting.samples import settings as report_settings
from tests.reporting.sink import StartSink, running


@pytest.fixture
def gate(
    sqlite_store: Store, sqlite_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Gate:
    """Runs ``dmarcgate WORDS --store …`` in this process; *stdin* is text or octets, and never a terminal."""

    def command(*words: str, stdin: str | bytes = b"") -> Done:
        octets = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(octets), encoding="utf-8"))
        monkeypatch.setattr(sys, "argv", ["dmarcgate", *words, "--store", sqlite_url])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return Done(int(ended.value.code or 0), shown.out, shown.err)

    return command


@pytest.fixture
def on_terminal(sqlite_store: Store, sqlite_url: str) -> OnTerminal:
    """Runs the command with a terminal before it, and types *answer* once it asks.

    *meanwhile* is called when the question stands there. Standard output and error come together, as one sees them.
    """

    def command(
        *words: str, answer: str = "", question: str = "]: ", meanwhile: Callable[[], object] | None = None
    ) -> Done:
        ours, theirs = pty.openpty()
        arguments = [sys.executable, "-m", "appliance", *words, "--store", sqlite_url]
        with subprocess.Popen(arguments, stdin=theirs, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            seen = b""
            while more := _read(ours):
                seen += more
                if answer and seen.endswith(question.encode()):
                    if meanwhile is not None:
                        meanwhile()
                    os.write(ours, f"{answer}\n".encode())
                    answer = ""
            status = process.wait(60)
        os.close(ours)
        return Done(status, seen.decode().replace("\r\n", "\n"), "")

    return command


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # how Linux says that nobody holds the other end any more
        return b""


@dataclass(frozen=True)
class Saved:
    """The settings in the store, past the command line."""

    store: Store

    @property
    def number(self) -> int:
        with self.store.read() as connection:
            return settings.current_number(connection)

    @property
    def settings(self) -> Settings:
        with self.store.read() as connection:
            return settings.current(connection).settings

    def save(self, wanted: Settings, author: str = "bob") -> None:
        with self.store.begin() as connection:
            number = settings.current_number(connection)
            settings.save(connection, wanted, based_on=number, author=author)


@pytest.fixture
def saved(sqlite_store: Store) -> Saved:
    return Saved(sqlite_store)


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str | bytes], str]:
    """Writes a file and gives its path."""

    def write(content: str | bytes) -> str:
        path = tmp_path / "given.txt"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


@pytest.fixture
def yesterday(gate: Gate, sqlite_store: Store, nameserver: NameServer, tmp_path: Path) -> Yesterday:
    """A gateway that reports to everybody who asks, and counted nothing yesterday."""
    save(sqlite_store, report_settings())
    return Yesterday(gate, sqlite_store, nameserver, tmp_path, last_day(datetime.now(UTC)))


@pytest.fixture
def start_sink(requires: Callable[[str], Path], free_port: Callable[[], int]) -> Iterator[StartSink]:
    """Starts receivers of reports."""
    with ExitStack() as sinks:
        yield lambda *options: sinks.enter_context(running(requires("smtp-sink"), free_port(), *options))
