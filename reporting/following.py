"""Follow the reports that Postfix took, by its log: taken by the receiver, waiting, refused, given up (AGG-43).

postfix/smtp[71]: 4ZqK1: to=<d@bank.test>, relay=mx.bank.test[192.0.2.1]:25, delay=1, delays=0/0/1/0, dsn=2.0.0, status=sent (250 ok)
postfix/qmgr[66]: 4ZqK1: from=<bounces+1.2@gateway.test>, status=expired, returned to sender
"""

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from appliance.log import get_logger
from appliance.mta import log as postfix_log
from appliance.mta.log import LogUnreadable, Place
from appliance.store import deliveries
from appliance.store.deliveries import Copy, News
from appliance.store.engine import Store
from appliance.store.reports import Fate
from reporting.notice import diagnostic

FOLLOW_FOR = timedelta(days=6)
"""Longer than Postfix keeps mail that it cannot deliver."""

_TRIED = re.compile(
    rb"([0-9A-Za-z]+): to=<.*?, dsn=([245]\.\d{1,3}\.\d{1,3}), status=([a-z]+) \((.*)\)$", re.ASCII
)
_GIVEN_UP = re.compile(rb"([0-9A-Za-z]+): from=<.*, status=(?:force-)?expired\b", re.ASCII)
_FATES = {b"sent": Fate.DELIVERED, b"deferred": Fate.DEFERRED, b"expired": Fate.EXPIRED}


class Follower:
    """Reads the log from where it stopped. What it cannot read it claims nothing about."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._read_before: Place | None = None
        self._read_last: Place | None = None

    def follow(self, store: Store, now: datetime) -> int:
        """Note what the log says about reports on their way; of how many it said something.

        Every stretch of the log is read twice: a report is written down a moment after Postfix took it, and Postfix may
        have delivered it by then.
        """
        here = postfix_log.end(self._log)
        with store.read() as connection:
            copies = deliveries.waiting(connection, now - FOLLOW_FOR)
        news = self._news(copies) if copies else {}
        with store.begin() as connection:
            for copy in copies:
                if copy.queue_id in news:
                    deliveries.learn(connection, copy, news[copy.queue_id], now)
            sent = deliveries.undelivered_jobs(connection, now - FOLLOW_FOR)
            deliveries.conclude_undelivered(connection, sent, now)
        self._read_before, self._read_last = self._read_last, here
        return len(news)

    def _news(self, copies: list[Copy]) -> dict[str, News]:
        oldest = min(copy.sent_at for copy in copies)
        since = self._read_before or postfix_log.reaching_back(self._log, oldest.timestamp())
        if since is None:
            return {}
        try:
            return read_fates(postfix_log.lines(self._log, since), {copy.queue_id for copy in copies})
        except LogUnreadable as error:
            get_logger().warning("following", log=str(self._log), reason=str(error))
            self._read_last = None  # begin anew, with what can be read
            return {}


def read_fates(lines: Iterable[bytes], queue_ids: set[str]) -> dict[str, News]:
    """The last word of the log about each of *queue_ids* that it mentions."""
    wanted = {queue_id.encode("ascii", "replace") for queue_id in queue_ids}
    news: dict[bytes, News] = {}
    for line in lines:
        entry = postfix_log.entry(line) if b"status=" in line else None
        if entry is None or entry.text.partition(b":")[0] not in wanted:
            continue
        if tried := _TRIED.match(entry.text):
            said = diagnostic(_text(tried[2]), _text(tried[4]))
            news[tried[1]] = News(_fate(tried[3], tried[2]), said)
        elif entry.program == b"qmgr" and (given_up := _GIVEN_UP.match(entry.text)):
            before = news.get(given_up[1])
            news[given_up[1]] = News(Fate.EXPIRED, before.diagnostic if before else "")
    return {queue_id.decode("ascii"): found for queue_id, found in news.items()}


def _fate(status: bytes, code: bytes) -> Fate:
    if status == b"bounced":
        return Fate.BOUNCED if code.startswith(b"5") else Fate.EXPIRED
    return _FATES.get(status, Fate.DEFERRED)


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "replace")
