"""Send one built report: ask the DNS afresh where it may go, hand it over, remember every attempt."""

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from email import message_from_bytes
from email.policy import SMTP

from appliance.dmarc.discovery import LookupFailed
from appliance.resolver import Resolver
from appliance.store import reports
from appliance.store.engine import Store
from appliance.store.reports import Attempt, JobStatus, ReportJob
from reporting.compose import addressed, return_path
from reporting.delivery import Courier, HandOver
from reporting.destinations import CHECK_SECONDS, Destinations, Kind, fetch_record, find_destinations
from reporting.gate import ReportGate
from reporting.mailto import MailAddress

GIVE_UP_AFTER = timedelta(days=2)  # as long as Postfix itself tries (AGG-43)
MAX_REASON = 500


@dataclass(frozen=True, slots=True)
class SendResult:
    """How far a report has come."""

    job_id: int
    policy_domain: str
    status: JobStatus
    reason: str
    accepted: tuple[str, ...]
    """Addresses whose copy Postfix took, now or earlier."""


class Sender:
    """Sends reports one after the other over one connection."""

    def __init__(
        self, store: Store, runner: asyncio.Runner, resolver: Resolver, courier: Courier, gate: ReportGate
    ) -> None:
        """*resolver* is used in *runner*'s loop only; *gate* keeps our own domains from becoming destinations."""
        self._store = store
        self._runner = runner
        self._resolver = resolver
        self._courier = courier
        self._gate = gate

    def send(self, job: ReportJob, now: datetime) -> SendResult:
        """Attempt every destination of *job* that did not take it yet; the job's new status is stored."""
        try:
            destinations = self._runner.run(self._destinations(job.policy_domain))
        except LookupFailed as failure:
            destinations = Destinations(postponed=(str(failure),))
        if destinations is None:
            return self._conclude(job, JobStatus.DISCARDED, "its record no longer asks for reports", now)
        permitted, refused = self._without_dead_and_own(destinations, now)
        with self._store.begin() as connection:
            reports.set_destinations(connection, job.id, [str(address) for address in permitted], now)
        problems = [*destinations.postponed, *self._attempt(job, permitted, now)]
        accepted, answers = self._settled(job)
        if problems and now - job.created_at < GIVE_UP_AFTER:
            return self._conclude(job, JobStatus.SENDING, "; ".join(problems), now)
        if accepted:
            return self._conclude(job, JobStatus.SENT, "; ".join([*refused, *answers, *problems]), now)
        if answers or problems:
            return self._conclude(job, JobStatus.FAILED, "; ".join([*answers, *problems]), now)
        return self._conclude(job, JobStatus.REFUSED, "; ".join(refused), now)

    async def _destinations(self, policy_domain: str) -> Destinations | None:
        """What the record says now (AGG-44); ``None`` when there is none, or it asks for no reports."""
        deadline = time.monotonic() + CHECK_SECONDS
        record = await fetch_record(policy_domain, self._resolver, deadline)
        if record is None or not record.rua:
            return None
        return await find_destinations(policy_domain, record, Kind.AGGREGATE, self._resolver, deadline)

    def _without_dead_and_own(
        self, destinations: Destinations, now: datetime
    ) -> tuple[list[MailAddress], list[str]]:
        permitted, refused = [], list(destinations.refused)
        with self._store.read() as connection:
            for address in destinations.addresses:
                if self._gate.is_own(address.domain):
                    refused.append(f"{address.domain} is our own domain")
                elif reports.suppression(connection, str(address), now) is not None:
                    refused.append("an address is on the suppression list")
                else:
                    permitted.append(address)
        return permitted, refused

    def _attempt(self, job: ReportJob, addresses: list[MailAddress], now: datetime) -> list[str]:
        """Offer the report to each of *addresses*; why some must be tried again."""
        with self._store.read() as connection:
            message = reports.message(connection, job.id)
            known = reports.attempts(connection, job.id)
        assert message is not None, "a report is kept before it is sent"
        settled = {attempt.recipient for attempt in known if attempt.outcome != HandOver.DEFERRED}
        again = []
        for address in addresses:
            if str(address) in settled:
                continue
            mail_from = return_path(_author(message), job.report_id, address)
            attempted = self._courier.hand_over(mail_from, str(address), addressed(message, address))
            done = Attempt(now, str(address), attempted.outcome, attempted.reply, attempted.queue_id)
            with self._store.begin() as connection:
                reports.add_attempt(connection, job.id, done)
            if attempted.outcome is HandOver.DEFERRED:
                again.append(attempted.reply)
        return again

    def _settled(self, job: ReportJob) -> tuple[tuple[str, ...], list[str]]:
        """The addresses that have the report, and the replies of those that refused it for good."""
        with self._store.read() as connection:
            known = reports.attempts(connection, job.id)
        accepted = dict.fromkeys(a.recipient for a in known if a.outcome == HandOver.ACCEPTED)
        return tuple(accepted), [a.reply for a in known if a.outcome == HandOver.REFUSED]

    def _conclude(self, job: ReportJob, status: JobStatus, reason: str, now: datetime) -> SendResult:
        reason = reason[:MAX_REASON]
        with self._store.begin() as connection:
            reports.set_status(connection, job.id, status, now, reason=reason)
        accepted, _ = self._settled(job)
        return SendResult(job.id, job.policy_domain, status, reason, accepted)


def _author(message: bytes) -> str:
    """The address that *message* is from, whatever the settings say by now."""
    head = message_from_bytes(message.partition(b"\r\n\r\n")[0], policy=SMTP)
    address: str = head["From"].addresses[0].addr_spec
    return address
