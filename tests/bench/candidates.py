"""Our filter, set up for the benchmark: everything switched on, every event and fact stored, nothing acted on."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from appliance.lab.ports import LOOPBACK, free_ports
from appliance.settings import from_document
from appliance.store import settings as store_settings
from appliance.store.engine import open_store
from tests.bench.corpus import Corpus
from tests.bench.load import Verdict
from tests.bench.processes import Daemon

CHECKOUT = Path(__file__).parents[2]
OURS = "dmarcgate"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A milter under measurement."""

    daemon: Daemon
    listening: Path
    checks_dkim: bool = False
    """Writes ``dkim=`` words that the corpus knows."""
    checks_dmarc: bool = False
    """Writes ``dmarc=`` words that the corpus knows."""

    @property
    def name(self) -> str:
        return self.daemon.name

    def is_right(self, verdict: Verdict) -> bool:
        """Whether the message was let through, with the words that its kind deserves."""
        right_dkim = not self.checks_dkim or verdict.kind.dkim in {None, verdict.dkim}
        right_dmarc = not self.checks_dmarc or verdict.dmarc == verdict.kind.dmarc
        return verdict.reply in {"a", "c"} and right_dkim and right_dmarc


@contextmanager
def our_filter(
    corpus: Corpus, folder: Path, *, workers: int, statistics: Path | None = None
) -> Iterator[Candidate]:
    """``dmarcgate filter`` with an SQLite store, and a name server of its own.

    With *statistics* it is one process under a profiler, which writes that file in the end.
    """
    program = ["appliance", "filter"] if statistics is None else ["tests.bench.profiled", str(statistics)]
    folder.mkdir()
    store_url = f"sqlite:///{folder}/dmarcgate.db"
    _save_settings(store_url)
    (port,) = free_ports(1)
    names = Daemon(
        "name server",
        [sys.executable, "-m", "tests.bench.nameserver", str(corpus.zone_file), str(port)],
        folder / "nameserver.log",
        {"PYTHONPATH": str(CHECKOUT)},
    )
    try:
        names.wait_until(lambda: "ready" in names.log.read_text(encoding="utf-8"))
        listening = folder / "filter.sock"
        filtering = Daemon(
            OURS,
            [
                *(sys.executable, "-m", *program, "--store", store_url),
                *("--listen", f"unix:{listening}", "--resolver", f"{LOOPBACK}:{port}"),
                *("--workers", str(workers)),
            ],
            folder / "filter.log",
            {"PYTHONPATH": str(CHECKOUT)},
        )
        try:
            filtering.wait_until(listening.exists)
            yield Candidate(filtering, listening, checks_dkim=True, checks_dmarc=True)
        finally:
            filtering.stop()
    finally:
        names.stop()


def _save_settings(store_url: str) -> None:
    document = {
        "verification": {"enabled": True, "mode": "monitor", "x_header": True},
        "identity": {"authserv_id": "mx.receiver.example"},
        "reports": {
            "enabled": True,
            "readiness_override": "benchmark",
            "organization": "Receiver",
            "address": "reports@receiver.example",
        },
    }
    store = open_store(store_url, create=True)
    try:
        with store.begin() as connection:
            current = store_settings.current(connection)
            store_settings.save(
                connection, from_document(document), based_on=current.number, author="benchmark", comment=""
            )
    finally:
        store.close()
