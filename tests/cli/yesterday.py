"""A gateway that counted mail yesterday, for the tests of ``dmarcgate report``."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

from appliance.lab.nameserver import NameServer
from appliance.store import reports
from appliance.store.engine import Store
from appliance.store.reports import JobStatus, ReportJob
from tests.cli.commands import Done, Gate
from tests.reporting.samples import HOUR, ROW, count

RECORD = "v=DMARC1; p=reject; rua=mailto:d@bank.test"


@dataclass(frozen=True)
class Yesterday:
    """A gateway that counted mail yesterday."""

    gate: Gate
    store: Store
    nameserver: NameServer
    folder: Path
    day: date

    def run(self, *words: str, listener: tuple[str, int] = ("127.0.0.1", 1)) -> Done:
        """``dmarcgate report WORDS`` where *listener* is Postfix's."""
        file = self.folder / "node.toml"
        file.write_text(
            f'name = "gateway.test"\nresolver = "{self.nameserver.address}"\n'
            f'[postfix]\nreports = "{listener[0]}:{listener[1]}"\nlog = "{self.folder / "maillog"}"\n'
        )
        return self.gate("report", *words, "--config", str(file))

    def counted(self, domain: str = "bank.test", times: int = 1, source_ip: str = "192.0.2.7") -> None:
        midnight = int(datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC).timestamp())
        row = replace(ROW, policy_domain=domain, header_from=domain, source_ip=source_ip)
        count(self.store, row, at=midnight + 12 * HOUR, times=times)

    def published(self, domain: str = "bank.test", record: str = RECORD) -> None:
        self.nameserver.zone.txt(f"_dmarc.{domain}", record)

    def build(self) -> Done:
        return self.run("build", "--day", self.day.isoformat())

    def jobs(self) -> list[ReportJob]:
        with self.store.read() as connection:
            return reports.jobs(connection, 1000)

    def job(self) -> ReportJob:
        [only] = self.jobs()
        return only

    def set(self, job: ReportJob, status: JobStatus, reason: str = "") -> None:
        with self.store.begin() as connection:
            reports.set_status(connection, job.id, status, datetime.now(UTC), reason=reason)
