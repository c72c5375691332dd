"""Build the aggregate reports of a UTC day: plan them, then make each one ready to send (RFC 9990)."""

import gzip
import io
import secrets
import shutil
from dataclasses import dataclass
from datetime import datetime
from tempfile import SpooledTemporaryFile
from typing import IO

from appliance.settings import Gate, Settings
from appliance.store import facts, reports
from appliance.store import settings as stored_settings
from appliance.store.engine import Store
from appliance.store.facts import PolicyGroup
from appliance.store.reports import JobStatus, NewJob, ReportJob
from reporting.aggregate_xml import InvalidReport, Origin, check_report, write_report
from reporting.compose import AggregateMail, compose
from reporting.gate import HISTORY_DAYS, GateDecision, ReportGate
from reporting.period import DAY_SECONDS, Period

MEMORY_OCTETS = 16 * 1024 * 1024  # XML beyond this goes through a file


@dataclass(frozen=True, slots=True)
class Planned:
    """What was found to report on one day."""

    new: int
    """Reports that will be built."""
    refused: int
    """By the gate; each with its reason in the store."""


def new_report_id() -> str:
    """28 characters of 0-9 and a-f: fit for the subject, the file name and the XML alike (AGG-40)."""
    return secrets.token_hex(14)


def plan_day(store: Store, period: Period, now: datetime, *, gate: Gate | None = None) -> Planned:
    """Make a job for each policy group of *period* that has none yet. Nothing while reports are off.

    *gate* stands in for the setting.
    """
    with store.read() as connection:
        settings = stored_settings.current(connection).settings
        groups = facts.policy_groups(connection, period.begin, period.end)
    if not settings.reports.enabled:
        return Planned(0, 0)
    doorkeeper = ReportGate(settings, gate=gate)
    new = refused = 0
    for group in groups:
        decision = _plan(store, group, period, doorkeeper, now)
        if decision is not None:
            new += decision.allowed
            refused += not decision.allowed
    return Planned(new, refused)


def build_report(store: Store, job: ReportJob, now: datetime) -> None:
    """Make *job* ready to send: write, check, compress, compose, keep. Raises ``InvalidReport``."""
    period = Period(job.day, job.begin, job.end)
    with store.read() as connection:
        settings = stored_settings.current(connection).settings
    group = _group_of(store, job)
    origin = _origin(settings, job.report_id)
    with SpooledTemporaryFile(max_size=MEMORY_OCTETS) as xml:
        with store.read() as connection:
            rows = facts.aggregate_rows(connection, group, job.begin, job.end)
            totals = write_report(xml, origin, group, period, rows)
        xml.seek(0)
        if check_report(xml) != totals:
            raise InvalidReport("the XML does not hold what was counted")
        xml.seek(0)
        xml_gz = _compressed(xml)
    mail = AggregateMail(origin, job.policy_domain, period, totals, xml_gz)
    message = compose(mail, now)
    with store.begin() as connection:
        reports.keep_message(
            connection,
            job.id,
            message=message,
            xml_gz=xml_gz,
            destinations=(),
            rows=totals.rows,
            messages=totals.messages,
            now=now,
        )


def _plan(
    store: Store, group: PolicyGroup, period: Period, doorkeeper: ReportGate, now: datetime
) -> GateDecision | None:
    """The gate's decision on *group*, or ``None`` when it was made before."""
    report_id = new_report_id()
    new = NewJob(period.day, group.policy_domain, group.key, period.begin, period.end, report_id)
    since = period.begin - (HISTORY_DAYS - 1) * DAY_SECONDS
    with store.begin() as connection:
        job = reports.plan(connection, new, now)
        if job.report_id != report_id:
            return None
        decision = doorkeeper.decide(
            group.policy_domain,
            days_seen=lambda: facts.days_seen(connection, group.policy_domain, since, period.end),
            accepted=lambda: facts.accepted_since(connection, group.policy_domain, since),
        )
        status = JobStatus.PENDING if decision.allowed else JobStatus.REFUSED
        reports.set_status(connection, job.id, status, now, reason=decision.reason)
    return decision


def _group_of(store: Store, job: ReportJob) -> PolicyGroup:
    with store.read() as connection:
        group = facts.group(connection, job.policy_key)
    if group is None:
        raise InvalidReport("what it was to count is no longer kept")
    return group


def _compressed(file: IO[bytes]) -> bytes:
    octets = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=octets, mtime=0) as target:
        shutil.copyfileobj(file, target)
    return octets.getvalue()


def _origin(settings: Settings, report_id: str) -> Origin:
    return Origin(
        settings.reports.organization, settings.reports.address, settings.reports.contact, report_id
    )
