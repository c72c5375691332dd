"""Send one built report: freeze a copy for each address, hand it over, remember every attempt.

What Postfix said is written down after it was said, so a crash may come in between. The log then tells whether Postfix
has the copy; where it does not tell, the very same octets go out once more (AGG-32).
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from appliance.mta import log as postfix_log
from appliance.mta.log import Place
from appliance.settings import Reports
from appliance.store import report_copies, reports
from appliance.store.engine import Store
from appliance.store.outbox import that_count
from appliance.store.report_copies import Copy, Limits, Room, UnderWay
from appliance.store.reports import Attempt, JobStatus, ReportJob
from reporting import window
from reporting.broken_off import IDENT_DIGITS, taken_as
from reporting.copying import make_copy, messages_of
from reporting.delivery import Attempted, Courier, HandOver
from reporting.destinations import Destinations
from reporting.gate import ReportGate
from reporting.mailto import MailAddress
from reporting.permitted import permitted
from reporting.return_path import ReturnPaths

GIVE_UP_AFTER = timedelta(days=2)  # as long as Postfix itself tries (AGG-43)
LEASE_SECONDS = 1800  # longer than the look-ups of a batch and one hand-over may take
ANOTHER_NODE = timedelta(hours=1)  # so long it may take until it finds out what became of its own hand-over
MAX_REASON = 500

_DONE = {HandOver.ACCEPTED, HandOver.REFUSED, HandOver.BEYOND}


class LeaseLost(Exception):
    """Somebody else works on the report by now."""


@dataclass(frozen=True, slots=True)
class SendResult:
    """How far a report has come."""

    job_id: int
    policy_domain: str
    status: JobStatus
    reason: str
    accepted: tuple[str, ...]
    """Addresses whose copy Postfix took, now or earlier."""
    is_unreachable: bool = False
    """Postfix can't be reached: the other reports need not be tried now."""


@dataclass(frozen=True, slots=True)
class Here:
    """Who sends."""

    owner: str
    """Of the leases: this process."""
    node: str
    """Whose Postfix takes the mail."""
    log: Path | None = None
    """That Postfix's."""


class Sender:
    """Sends reports one after the other over one connection."""

    def __init__(
        self,
        store: Store,
        courier: Courier,
        gate: ReportGate,
        return_paths: ReturnPaths,
        settings: Reports,
        here: Here,
    ) -> None:
        self._store = store
        self._courier = courier
        self._gate = gate
        self._return_paths = return_paths
        self._settings = settings
        self._limits = Limits(settings.destinations_per_day, settings.new_destinations_per_day)
        self._here = here

    def send(self, job: ReportJob, destinations: Destinations | None, now: datetime) -> SendResult:
        """Attempt every one of *destinations* that did not take *job* yet; its new status is stored.

        *destinations* are what the DNS says now; ``None``: nobody asks for reports any more. Raises ``LeaseLost``.
        """
        if elsewhere := self._settle(job, now):
            return self._conclude(job, JobStatus.SENDING, elsewhere, now)
        if forbidden := self._gate.forbids(job.policy_domain):
            return self._end(job, JobStatus.REFUSED, [forbidden], now)
        if destinations is None:
            return self._end(job, JobStatus.DISCARDED, ["its record no longer asks for reports"], now)
        addresses, refused = permitted(self._store, self._gate, destinations, now)
        with self._store.begin() as connection:
            reports.set_destinations(connection, job.id, [str(address) for address in addresses], now)
        attempted = self._attempt(job, addresses, now)
        waits = [one.reply for one in attempted if one.outcome is HandOver.WAITS]
        again = [*destinations.postponed, *(a.reply for a in attempted if a.outcome is HandOver.DEFERRED)]
        if (waits or again) and now - job.created_at < GIVE_UP_AFTER:
            tried_at = job.updated_at if job.status is JobStatus.SENDING else None
            due_at = window.again_at(now, tried_at) if again else window.next_day(now)
            is_unreachable = any(one.is_unreachable for one in attempted)
            said = [*again, *waits]
            return self._conclude(
                job, JobStatus.SENDING, _joined(said), now, due_at, is_unreachable=is_unreachable
            )
        status = JobStatus.FAILED if again or self._is_answered_no(job) else JobStatus.REFUSED
        return self._end(job, status, [*refused, *self._noes(job), *again, *waits], now)

    # ---- one copy after the other

    def _attempt(self, job: ReportJob, addresses: Sequence[MailAddress], now: datetime) -> list[Attempted]:
        """Offer the report to those of *addresses* of whom it is not known how that ended."""
        messages = messages_of(self._store, job)
        with self._store.read() as connection:
            known = that_count(reports.attempts(connection, job.id))
            frozen = report_copies.copies(connection, job.id)
        done = {attempt.recipient for attempt in known if attempt.outcome in _DONE}
        waited = {a.recipient for a in known if a.outcome == HandOver.WAITS and a.at.date() == now.date()}
        attempted: list[Attempted] = []
        for address in (address for address in addresses if str(address) not in done):
            copy = frozen.get(str(address)) or make_copy(
                self._store, job, messages, address, self._settings, self._return_paths
            )
            under_way = self._under_way()
            kept_back = self._begin(job, copy, under_way, now, is_told=copy.recipient in waited)
            octets = messages.octets_of(copy)
            attempted.append(kept_back or self._hand_over(job, copy, octets, under_way.ident, now))
            if attempted[-1].is_unreachable:
                break
        return attempted

    def _begin(
        self, job: ReportJob, copy: Copy, under_way: UnderWay, now: datetime, *, is_told: bool
    ) -> Attempted | None:
        """Freeze and count *copy*, and note that it is on its way; why not, where it may not go now.

        *is_told*: that it has to wait was written down today already.
        """
        with self._store.begin() as connection:
            if not reports.keep_job(
                connection, job.id, self._here.owner, datetime.now(UTC), lease_seconds=LEASE_SECONDS
            ):
                raise LeaseLost
            room = report_copies.freeze(connection, job.id, copy, self._limits, now)
            if room is Room.TAKEN:
                report_copies.set_under_way(connection, job.id, copy.recipient, under_way)
                return None
            kept_back = self._kept_back(room)
            if not is_told:
                waits = room is Room.NO_NEW
                report_copies.count_kept_back(connection, now, waiting=int(waits), refused=int(not waits))
                attempt = Attempt(now, copy.recipient, kept_back.outcome, kept_back.reply, "")
                reports.add_attempt(connection, job.id, attempt)
        return kept_back

    def _hand_over(self, job: ReportJob, copy: Copy, octets: bytes, ident: str, now: datetime) -> Attempted:
        attempted = self._courier.hand_over(copy.mail_from, copy.recipient, octets, ident=ident)
        done = Attempt(now, copy.recipient, attempted.outcome, attempted.reply, attempted.queue_id)
        with self._store.begin() as connection:
            reports.add_attempt(connection, job.id, done)
            if not attempted.is_uncertain:
                report_copies.set_under_way(connection, job.id, copy.recipient, None)
        return attempted

    def _under_way(self) -> UnderWay:
        clock = datetime.now(UTC)
        place = postfix_log.end(self._here.log) if self._here.log is not None else None
        if place is None:
            return UnderWay(clock, self._here.node, "")
        ident = secrets.token_hex(IDENT_DIGITS // 2)
        return UnderWay(clock, self._here.node, ident, place.inode, place.octets)

    def _kept_back(self, room: Room) -> Attempted:
        limits = self._limits
        if room is Room.NO_NEW:
            return Attempted(
                HandOver.WAITS,
                f"waits: {limits.new_destinations} addresses that never had a report from us got one today, "
                "and no more may; the others follow tomorrow",
            )
        return Attempted(
            HandOver.BEYOND, f"not sent: {limits.copies} reports went out today, and no more may"
        )

    # ---- what is known before and after

    def _settle(self, job: ReportJob, now: datetime) -> str:
        """Find out what became of hand-overs that broke off; why that is not for us to do now, where it is not."""
        with self._store.read() as connection:
            copies = report_copies.copies(connection, job.id)
        for copy in copies.values():
            way = copy.under_way
            if way is None:
                continue
            if way.node != self._here.node:
                if datetime.now(UTC) - way.at < ANOTHER_NODE:
                    return f"{way.node} was just handing it over, and can tell what became of that"
                continue
            if way.ident and self._here.log is not None:
                place = Place(way.log_inode, way.log_octets)
                if queue_id := taken_as(way.ident, self._here.log, place):
                    self._found(job, copy.recipient, queue_id, min(way.at, now))
        return ""

    def _found(self, job: ReportJob, recipient: str, queue_id: str, at: datetime) -> None:
        reply = "found in Postfix's log after the hand-over broke off"
        with self._store.begin() as connection:
            reports.add_attempt(
                connection, job.id, Attempt(at, recipient, HandOver.ACCEPTED, reply, queue_id)
            )
            report_copies.set_under_way(connection, job.id, recipient, None)

    def _attempts(self, job: ReportJob) -> list[Attempt]:
        with self._store.read() as connection:
            return that_count(reports.attempts(connection, job.id))

    def _is_answered_no(self, job: ReportJob) -> bool:
        return any(attempt.outcome == HandOver.REFUSED for attempt in self._attempts(job))

    def _noes(self, job: ReportJob) -> list[str]:
        """Why addresses never get it, whether Postfix said so or our limits."""
        final = {HandOver.REFUSED, HandOver.BEYOND}
        return [attempt.reply for attempt in self._attempts(job) if attempt.outcome in final]

    def _end(self, job: ReportJob, status: JobStatus, reasons: Sequence[str], now: datetime) -> SendResult:
        """Nothing more will be tried: it was sent when anybody took it, else it is what *status* says."""
        accepted = any(attempt.outcome == HandOver.ACCEPTED for attempt in self._attempts(job))
        return self._conclude(job, JobStatus.SENT if accepted else status, _joined(reasons), now)

    def _conclude(
        self,
        job: ReportJob,
        status: JobStatus,
        reason: str,
        now: datetime,
        due_at: datetime | None = None,
        *,
        is_unreachable: bool = False,
    ) -> SendResult:
        with self._store.begin() as connection:
            reports.set_status(connection, job.id, status, now, reason=reason)
            if due_at is not None:
                reports.set_due(connection, job.id, due_at)
            known = that_count(reports.attempts(connection, job.id))
        accepted = dict.fromkeys(a.recipient for a in known if a.outcome == HandOver.ACCEPTED)
        return SendResult(job.id, job.policy_domain, status, reason, tuple(accepted), is_unreachable)


def _joined(reasons: Sequence[str]) -> str:
    return "; ".join(dict.fromkeys(reasons))[:MAX_REASON]
