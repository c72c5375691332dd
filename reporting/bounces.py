"""What comes back to our bounce addresses: whose report it is about, and what follows from it (BNC-01 to BNC-05).

Nothing is ever answered. Who knows a report's bounce address, its receiver and the servers on the way, can say about
that report to that receiver what any notice can say, and no more: at worst its receiver gets no reports for a time.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from appliance.log import get_logger
from appliance.store import deliveries
from appliance.store import settings as stored_settings
from appliance.store.deliveries import Copy, SentReport
from appliance.store.engine import Store, StoreUnavailable
from reporting.notice import read_notice
from reporting.return_path import ReturnPaths, read_return_path, return_paths

TOKEN_LIVES = timedelta(days=10)
"""So long after a report was sent notices about it are taken: queues keep mail for five days."""

TAKEN = "250 2.0.0 taken"
NOT_OURS = "550 5.1.1 this is not the return path of a report of ours"
LATER = "451 4.3.0 try again later"

_POLL_SECONDS = 0.1
_AUTOMATIC = ("mailer-daemon", "postmaster")  # who some servers send notices from, instead of the null path


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Bounces:
    """Decides about bounce addresses and notices; every answer is a line of LMTP. Any thread may ask."""

    store: Store
    clock: Callable[[], datetime] = _utc_now
    patience_seconds: float = 10.0
    """So long a notice waits for its report to be written down; then Postfix is to bring it again."""
    _paths: ReturnPaths | None = None

    def check(self, address: str) -> str:
        """Whether *address* is the return path of a report that was sent lately; nothing else is taken (BNC-05).

        The readiness check's own address is not refused here, so that it learns whether bounces get in.
        """
        try:
            return TAKEN if self._is_probe(address) or self._find(address) is not None else NOT_OURS
        except StoreUnavailable:
            return LATER

    def take(self, mail_from: str, address: str, octets: bytes) -> str:
        """Note what the message to the bounce *address* says.

        People's mail, which Postfix should have refused, is taken and not read: to refuse it now would be to answer
        a sender who may be forged.
        """
        try:
            found = self._find(address)
            if found is None:
                return NOT_OURS
            recipient = found[1]
            if not _is_automatic(mail_from):
                get_logger().info("bounce", recipient=recipient, mail_from=mail_from, ignored="not automatic")
                return TAKEN
            copy = self._copy(address)
            if copy is None:
                return LATER
            self._learn(copy, octets)
        except StoreUnavailable:
            return LATER
        return TAKEN

    def _copy(self, address: str) -> Copy | None:
        """What the bounce *address* was the sender of. Postfix may be faster than the job that gave it the report."""
        give_up_at = time.monotonic() + self.patience_seconds
        while True:
            report, recipient = self._find(address) or (None, "")
            copies = [copy for copy in report.copies if copy.recipient == recipient] if report else []
            if copies or time.monotonic() > give_up_at:
                return copies[-1] if copies else None
            time.sleep(_POLL_SECONDS)

    def _is_probe(self, address: str) -> bool:
        token = read_return_path(address)
        return token is not None and self._known_paths().is_probe(token)

    def _find(self, address: str) -> tuple[SentReport, str] | None:
        """The report and the destination that *address* names."""
        token = read_return_path(address)
        if token is None:
            return None
        with self.store.read() as connection:
            report = deliveries.sent_report(connection, token.report_id)
        if report is None or self.clock() - report.last_at > TOKEN_LIVES:
            return None
        recipient = self._known_paths().recipient(token, report.destinations)
        return (report, recipient) if recipient else None

    def _known_paths(self) -> ReturnPaths:
        if self._paths is None:
            with self.store.read() as connection:
                settings = stored_settings.current(connection).settings
            self._paths = return_paths(self.store, settings)
        return self._paths

    def _learn(self, copy: Copy, octets: bytes) -> None:
        news = read_notice(octets, copy.recipient)
        with self.store.begin() as connection:
            suppressed = deliveries.learn(connection, copy, news, self.clock())
        get_logger().info(
            "bounce",
            job=copy.job_id,
            recipient=copy.recipient,
            fate=news.fate.value,
            diagnostic=news.diagnostic,
            suppressed_until=_shown(suppressed.until) if suppressed else None,
        )


def _is_automatic(mail_from: str) -> bool:
    return not mail_from or mail_from.partition("@")[0].lower() in _AUTOMATIC


def _shown(until: datetime | None) -> str:
    return until.isoformat(timespec="minutes") if until is not None else "edited"
