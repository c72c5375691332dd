"""Send failure reports: those that the gate, the caps and their receivers let through.

Each is made and frozen before it is first handed over: whoever gets it twice gets the same octets.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from appliance.dmarc.discovery import LookupFailed
from appliance.dmarc.record import Psd
from appliance.mail.domain import domain_of
from appliance.resolver import Resolver
from appliance.settings import Settings
from appliance.store import facts, failures, keys
from appliance.store.engine import Store
from appliance.store.failures import DaySoFar, FailureCopy, FailureRow
from appliance.store.keys import SigningKey
from appliance.store.reports import JobStatus
from reporting.compose import addressed
from reporting.copying import author_of
from reporting.delivery import Courier, HandOver
from reporting.destinations import CHECK_SECONDS, Destinations, Kind, fetch_record, find_destinations
from reporting.failure import FailureMail, compose_failure
from reporting.gate import HISTORY_DAYS, ReportGate
from reporting.mailto import MailAddress
from reporting.permitted import permitted
from reporting.planning import new_report_id
from reporting.return_path import return_paths
from reporting.signing import signed

LEASE_SECONDS = (
    900  # longer than the look-ups and one hand-over may take; what has to wait comes up again then
)
GIVE_UP_AFTER = timedelta(days=1)  # nobody looks for what happened longer ago

_SETTLED = {HandOver.ACCEPTED.value, HandOver.REFUSED.value}


class LeaseLost(Exception):
    """Somebody else works on the report by now."""


@dataclass(frozen=True, slots=True)
class FailureResult:
    """How far a failure report has come."""

    row_id: int
    policy_domain: str
    author_domain: str
    status: JobStatus
    reason: str
    accepted: tuple[str, ...]
    """Addresses whose copy Postfix took, now or earlier."""


class FailureSender:
    """Sends failure reports one after the other over one connection, under one revision of the settings."""

    def __init__(
        self,
        store: Store,
        runner: asyncio.Runner,
        resolver: Resolver,
        courier: Courier,
        settings: Settings,
        owner: str,
    ) -> None:
        """*resolver* is used in *runner*'s loop only; *owner* is that of the leases."""
        self._store = store
        self._runner = runner
        self._resolver = resolver
        self._courier = courier
        self._owner = owner
        self._settings = settings.reports
        self._gate = ReportGate(settings)
        self._return_paths = return_paths(store, settings)
        with store.begin() as connection:
            self._redactor = failures.redactor(connection)

    def send(self, row: FailureRow, now: datetime) -> FailureResult:
        """Go as far as possible with *row*, which is leased; its new status is stored. Raises ``LeaseLost``."""
        if row.sample is None or (self._settings.failure_redaction and not row.sample.redacted):
            return self._conclude(
                row, JobStatus.DISCARDED, "taken down before redaction was switched on", now
            )
        if now - row.first_at > GIVE_UP_AFTER:
            return self._give_up(row, now)
        if refusal := self._refusal(row, now):
            return self._conclude(row, JobStatus.REFUSED, refusal, now)
        try:
            destinations = self._runner.run(self._destinations(row.policy_domain))
        except LookupFailed as failure:
            destinations = Destinations(postponed=(str(failure),))
        if destinations is None:
            return self._conclude(
                row, JobStatus.DISCARDED, "its record no longer asks for failure reports", now
            )
        addresses, refused = permitted(self._store, self._gate, destinations, now)
        row, capped = self._made_ready(row, addresses, now)
        again = [*destinations.postponed, *self._attempt(row, addresses, now)]
        return self._result(row, [*refused, *capped], again, now)

    def _refusal(self, row: FailureRow, now: datetime) -> str:
        """Why the report can't go out whatever the DNS says; ``""`` when it may."""
        today = _midnight(now)
        since = int((today - timedelta(days=HISTORY_DAYS - 1)).timestamp())
        until = int((today + timedelta(days=1)).timestamp())
        with self._store.read() as connection:
            decision = self._gate.decide(
                row.policy_domain,
                days_seen=lambda: facts.days_seen(connection, row.policy_domain, since, until),
                accepted=lambda: facts.accepted_since(connection, row.policy_domain, since),
                causes_report=lambda: True,  # else no sample would have been taken
            )
            if not decision.allowed:
                return decision.reason
            so_far = failures.day_so_far(connection, row.author_domain, today)
        return "" if row.report_id or so_far.copies < self._settings.failure_per_day else self._day_is_full

    async def _destinations(self, policy_domain: str) -> Destinations | None:
        """What the record says now; ``None`` when there is none, or it asks for no failure reports (RUF-02)."""
        deadline = time.monotonic() + CHECK_SECONDS
        record = await fetch_record(policy_domain, self._resolver, deadline)
        if record is None or not record.ruf or record.psd is Psd.YES:
            return None
        return await find_destinations(policy_domain, record, Kind.FAILURE, self._resolver, deadline)

    def _made_ready(
        self, row: FailureRow, addresses: Sequence[MailAddress], now: datetime
    ) -> tuple[FailureRow, list[str]]:
        """*row* with its mail and a frozen copy for each of *addresses* that may have one; and why others may not."""
        new = [address for address in addresses if str(address) not in row.copies]
        if not new:
            return row, []
        with self._store.begin() as connection:
            failures.wait_for_turn(connection)
            so_far = failures.day_so_far(connection, row.author_domain, _midnight(now))
            free, capped = self._within_caps(row, new, so_far)
            message = failures.message(connection, row.id)
            if free and message is None:
                row, message = self._made(row, failures.take_unreported(connection, row.id), now)
                failures.keep_message(connection, row.id, report_id=row.report_id, octets=message, now=now)
            if free and message is not None:
                signers = keys.signing_keys(connection, domain_of(author_of(message)))
                copies = {str(one): self._copy(row, message, one, signers, now) for one in free}
                row = replace(row, copies={**row.copies, **copies})
                failures.keep_copies(connection, row.id, row.copies, now)
        return row, capped

    def _within_caps(
        self, row: FailureRow, addresses: Sequence[MailAddress], so_far: DaySoFar
    ) -> tuple[list[MailAddress], list[str]]:
        """Who of *addresses* may have this report today, and why not the others (RUF-04)."""
        in_all, for_each = self._settings.failure_per_day, self._settings.failure_per_destination
        free = [address for address in addresses if so_far.by_address[str(address)] < for_each]
        capped = []
        if len(free) < len(addresses):
            capped.append(f"an address had {for_each} today about {row.author_domain}")
        room = max(0, in_all - so_far.copies)
        if room < len(free):
            capped.append(self._day_is_full)
        return free[:room], capped

    @property
    def _day_is_full(self) -> str:
        return f"{self._settings.failure_per_day} failure reports went out today, and no more may"

    def _made(self, row: FailureRow, incidents: int, now: datetime) -> tuple[FailureRow, bytes]:
        assert row.sample, "looked at before"
        report_id = new_report_id()
        mail = FailureMail.of(row.sample, incidents, report_id, self._settings)
        return replace(row, report_id=report_id), compose_failure(mail, now)

    def _copy(
        self,
        row: FailureRow,
        message: bytes,
        address: MailAddress,
        signers: Sequence[SigningKey],
        now: datetime,
    ) -> FailureCopy:
        told = self._redactor.for_receiver(message, address.domain)
        octets = signed(addressed(told, address), signers, now)
        mail_from = self._return_paths.of(author_of(message), row.report_id, str(address))
        return FailureCopy(mail_from, octets.removesuffix(told).decode("ascii"))

    def _attempt(self, row: FailureRow, addresses: Sequence[MailAddress], now: datetime) -> list[str]:
        """Offer the report to all who may have it and neither took nor refused it; why some must be tried again."""
        again: list[str] = []
        copies = dict(row.copies)
        with self._store.read() as connection:
            message = failures.message(connection, row.id) or b""
        for address in addresses:
            copy = copies.get(str(address))
            if copy is None or copy.outcome in _SETTLED:
                continue
            octets = copy.head.encode("ascii") + self._redactor.for_receiver(message, address.domain)
            self._keep_lease(row)
            attempted = self._courier.hand_over(copy.mail_from, str(address), octets)
            copies[str(address)] = replace(
                copy,
                outcome=attempted.outcome.value,
                reply=attempted.reply,
                queue_id=attempted.queue_id,
            )
            with self._store.begin() as connection:
                failures.keep_copies(connection, row.id, copies, now)
            if attempted.outcome is HandOver.DEFERRED:
                again.append(attempted.reply)
            if attempted.is_unreachable:
                break
        return again

    def _keep_lease(self, row: FailureRow) -> None:
        with self._store.begin() as connection:
            if not failures.keep_lease(
                connection, row.id, self._owner, datetime.now(UTC), lease_seconds=LEASE_SECONDS
            ):
                raise LeaseLost

    def _result(
        self, row: FailureRow, refused: Sequence[str], again: Sequence[str], now: datetime
    ) -> FailureResult:
        replies = self._replies(row, HandOver.REFUSED)
        if again:
            status = JobStatus.SENDING if row.report_id else JobStatus.PENDING
            return self._conclude(row, status, "; ".join(again), now)
        if self._replies(row, HandOver.ACCEPTED):
            return self._conclude(row, JobStatus.SENT, "; ".join([*refused, *replies.values()]), now)
        status = JobStatus.FAILED if replies else JobStatus.REFUSED
        return self._conclude(row, status, "; ".join([*replies.values(), *refused]), now)

    def _give_up(self, row: FailureRow, now: datetime) -> FailureResult:
        if self._replies(row, HandOver.ACCEPTED):
            return self._conclude(row, JobStatus.SENT, row.reason, now)
        reason = f"given up after a day: {row.reason}" if row.reason else "older than a day"
        return self._conclude(row, JobStatus.FAILED if row.report_id else JobStatus.DISCARDED, reason, now)

    def _replies(self, row: FailureRow, outcome: HandOver) -> dict[str, str]:
        """What was said to the copies that ended so, by receiver."""
        with self._store.read() as connection:
            known = failures.get(connection, row.id)
        copies = known.copies if known else {}
        return {address: copy.reply for address, copy in copies.items() if copy.outcome == outcome}

    def _conclude(self, row: FailureRow, status: JobStatus, reason: str, now: datetime) -> FailureResult:
        with self._store.begin() as connection:
            failures.set_status(connection, row, status, now, reason=reason)
        accepted = tuple(self._replies(row, HandOver.ACCEPTED))
        return FailureResult(row.id, row.policy_domain, row.author_domain, status, reason, accepted)


def _midnight(now: datetime) -> datetime:
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
