"""Make a planned aggregate report ready to send (RFC 9990)."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from appliance.settings import ReportForm, Reports, Settings
from appliance.store import facts, report_building, reports
from appliance.store import settings as stored_settings
from appliance.store.engine import Store
from appliance.store.facts import PolicyGroup, ReportRow
from appliance.store.reports import JobStatus, ReportJob
from reporting import legacy
from reporting.aggregate_check import InvalidReport
from reporting.aggregate_xml import Origin, Totals, write_report
from reporting.attachment import Attachment, Each, TooLarge
from reporting.compose import AggregateMail, compose
from reporting.parts import LIMITS, Limits, parts_of, smaller_parts_of
from reporting.period import Period
from reporting.planning import new_job

TOLD_EVERY_ROWS = 1000


def build_report(
    store: Store,
    job: ReportJob,
    now: datetime,
    *,
    limits: Limits = LIMITS,
    on_rows: Callable[[ReportJob, int], None] = lambda _job, _rows: None,
    on_cut: Callable[[int], None] = lambda _more: None,
) -> None:
    """Make *job* ready to send: write, check, compress, compose, keep. Raises ``InvalidReport``.

    What is too much for one report is cut: *job* becomes the first part, *on_cut* hears how many others wait now.
    *on_rows* is told from time to time how many records are written.
    """
    with store.read() as connection:
        settings = stored_settings.current(connection).settings
        group = facts.group(connection, job.policy_key)
    if group is None:
        raise InvalidReport("what it was to count is no longer kept")
    parts = parts_of(store, job.policy_key, _period(job), limits.rows)
    while True:
        job = _cut(store, job, parts, now, on_cut)
        try:
            _build(store, settings, group, job, now, limits, on_rows)
        except TooLarge:
            parts = smaller_parts_of(store, job.policy_key, _period(job))
        else:
            return


def _cut(
    store: Store,
    job: ReportJob,
    parts: Sequence[Period],
    now: datetime,
    on_cut: Callable[[int], None],
) -> ReportJob:
    if tuple(parts) == (_period(job),):
        return job
    with store.begin() as connection:
        new = [new_job(job.policy_domain, job.policy_key, part) for part in parts]
        first = report_building.cut(connection, job, new, now)
    on_cut(len(parts) - 1)
    return first


def _build(
    store: Store,
    settings: Settings,
    group: PolicyGroup,
    job: ReportJob,
    now: datetime,
    limits: Limits,
    on_rows: Callable[[ReportJob, int], None],
) -> None:
    """Raises ``InvalidReport``, or ``TooLarge`` where *job* can be cut."""
    period, origin = _period(job), _origin(settings.reports, job.report_id)
    most_octets = None if period.is_within_an_hour else limits.octets
    forms = [ReportForm.RFC9990, *([ReportForm.LEGACY] if legacy.may_be_wanted(settings.reports) else [])]
    attached = {form: Attachment(form, most_octets) for form in forms}
    with store.read() as connection:
        folded = facts.folded(connection, group, job.begin, job.end)
        rows = facts.aggregate_rows(connection, group, job.begin, job.end)
        told = _telling(rows, lambda written: on_rows(job, written))
        totals = write_report(Each(list(attached.values())), origin, group, period, told, not_listed=folded)
    if folded and not totals.rows:
        reason = f"the day had no room for records of its {folded} messages; a report has at least one"
        with store.begin() as connection:
            reports.set_status(connection, job.id, JobStatus.DISCARDED, now, reason=reason)
        return
    messages = {}
    for form, attachment in attached.items():
        if attachment.close() != totals:
            raise InvalidReport("the XML does not hold what was counted")
        mail = AggregateMail(origin, job.policy_domain, period, totals, attachment.xml_gz, form, folded)
        messages[form] = compose(mail, now)
    with store.begin() as connection:
        reports.keep_message(
            connection,
            job.id,
            message=messages[ReportForm.RFC9990],
            legacy_message=messages.get(ReportForm.LEGACY),
            xml_gz=attached[ReportForm.RFC9990].xml_gz,
            destinations=(),
            rows=totals.rows,
            messages=totals.messages,
            now=now,
            reason=_remarks(totals, folded, limits),
        )


def _telling(
    rows: Iterator[tuple[ReportRow, int]], tell: Callable[[int], None]
) -> Iterator[tuple[ReportRow, int]]:
    for number, row in enumerate(rows, 1):
        yield row
        if number % TOLD_EVERY_ROWS == 0:
            tell(number)


def _remarks(totals: Totals, folded: int, limits: Limits) -> str:
    """What the report can't do as it should."""
    remarks = []
    if folded:
        remarks.append(f"{folded} messages are not listed: the day had no room for new records")
    if totals.rows > limits.rows:
        remarks.append(f"{totals.rows} records, more than {limits.rows}: they came within one hour")
    return "; ".join(remarks)


def _period(job: ReportJob) -> Period:
    return Period(job.day, job.begin, job.end)


def _origin(settings: Reports, report_id: str) -> Origin:
    return Origin(settings.organization, settings.address, settings.contact, report_id)
