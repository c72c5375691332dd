"""Reports and their copies on a terminal and as JSON, and what commands about them are given."""

import gzip
import io
import shutil
import sys
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import quote

from appliance.cli.failures import CommandFailed
from appliance.mail.domain import InvalidDomain, to_a_label
from appliance.quarantine.text import safe
from appliance.store import outbox
from appliance.store.engine import Store
from appliance.store.outbox import CopyState, CopyStatus, Entry
from appliance.store.reports import ReportJob
from reporting.mailto import InvalidUri, parse_mailto

SHOWN = 80
"""Characters of what somebody else said, in a list."""

_DAY_SECONDS = 86_400
_WORDS = {
    CopyState.UNTRIED: "not tried yet",
    CopyState.RETRYING: "not taken by our Postfix so far",
    CopyState.WAITING: "put off to another day",
    CopyState.REFUSED: "refused by our Postfix",
    CopyState.CAPPED: "not sent, too many on that day",
    CopyState.ACCEPTED: "taken by our Postfix, no bounce so far",
    CopyState.DEFERRED: "put off by the receiver",
    CopyState.DELIVERED: "delivered",
    CopyState.EXPIRED: "given up by our Postfix",
    CopyState.BOUNCED: "bounced",
    CopyState.SUPPRESSED: "suppressed",
}
_SAYS_NO_MORE = (CopyState.ACCEPTED, CopyState.UNTRIED, CopyState.SUPPRESSED)


def line_of(job: ReportJob) -> str:
    """One line of a list."""
    size = f"{job.rows} records, {job.messages} messages" if job.size_octets else ""
    words = (
        f"{job.id:>6}",
        when(job),
        job.policy_domain,
        job.status.value,
        size,
        safe(job.reason)[: 2 * SHOWN],
    )
    return "  ".join(word for word in words if word)


def lines_of(entry: Entry) -> list[str]:
    """The report, and what became of each copy."""
    return [line_of(entry.job), *(f"          {copy_line(copy)}" for copy in entry.copies)]


def copy_line(copy: CopyStatus, most: int = SHOWN) -> str:
    queue_id = f", {safe(copy.queue_id)}" if copy.queue_id else ""
    detail = "" if copy.state in _SAYS_NO_MORE else safe(copy.detail)[:most]
    return f"{safe(copy.address)}  {_WORDS[copy.state]}{queue_id}{f': {detail}' if detail else ''}"


def when(job: ReportJob) -> str:
    """The day, and which hours of it where it is not the whole day."""
    if job.end - job.begin == _DAY_SECONDS:
        return job.day.isoformat()
    return f"{job.day} {hours(job.begin, job.end)}"


def hours(begin: int, end: int) -> str:
    """The time between two Unix seconds of one UTC day: ``06:00-24:00``."""
    until = f"{datetime.fromtimestamp(end, UTC):%H:%M}" if end % _DAY_SECONDS else "24:00"
    return f"{datetime.fromtimestamp(begin, UTC):%H:%M}-{until}"


def job_document(job: ReportJob) -> dict[str, Any]:
    return {
        "job": job.id,
        "day": job.day.isoformat(),
        "begin": job.begin,
        "end": job.end,
        "policy_domain": job.policy_domain,
        "report_id": job.report_id,
        "status": job.status.value,
        "reason": job.reason,
        "records": job.rows,
        "messages": job.messages,
        "size_octets": job.size_octets,
        "created_at": moment(job.created_at),
        "updated_at": moment(job.updated_at),
        "due_at": moment(job.due_at),
    }


def document_of(entry: Entry) -> dict[str, Any]:
    copies = [
        {
            "address": copy.address,
            "state": copy.state.value,
            "queue_id": copy.queue_id,
            "detail": copy.detail,
            "at": moment(copy.at),
        }
        for copy in entry.copies
    ]
    return {**job_document(entry.job), "destinations": copies}


def moment(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds") if at is not None else None


def day_of(given: datetime | None) -> date | None:
    return given.date() if given is not None else None


def a_label(domain: str, what: str) -> str:
    """*domain* as the store has it; *what* is the word that the command gives it."""
    try:
        return to_a_label(domain)
    except InvalidDomain as error:
        raise CommandFailed(f'{what} "{safe(domain)[:SHOWN]}" is no domain name: {error}') from None


def address_of(given: str) -> str:
    """A mail address as the reports' destinations are written."""
    local_part, _, domain = given.rpartition("@")
    try:
        return str(parse_mailto(f"mailto:{quote(local_part, safe='')}@{quote(domain, safe='')}"))
    except InvalidUri as error:
        raise CommandFailed(f'"{safe(given)[:SHOWN]}" is no mail address: {error}') from None


def find_entry(opened: Store, job_id: int) -> Entry:
    with opened.read() as connection:
        entry = outbox.entry(connection, job_id, datetime.now(UTC))
    if entry is None:
        raise CommandFailed(f"there is no report {job_id}; dmarcgate report list shows them", status=1)
    return entry


def write_unpacked(octets: bytes) -> None:
    """A gzip file's content to standard output, as it is."""
    with gzip.open(io.BytesIO(octets)) as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
