"""The weekly summary for the administrator: made once for all nodes, frozen, signed and handed to Postfix.

It says what happened from Monday to Sunday (UTC) and what wants to be looked at. It names domains and our own clients'
networks, and nobody's address.
"""

import secrets
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from appliance.log import get_logger
from appliance.mail.domain import domain_of
from appliance.node import Endpoint, Node
from appliance.settings import Settings
from appliance.store import keys, last_run
from appliance.store import settings as stored_settings
from appliance.store.engine import Store
from reporting.compose import SEVEN_BIT
from reporting.delivery import Courier, HandOver
from reporting.digest_text import Week, digest_text
from reporting.signing import signed

EVERY_SECONDS = 900
"""How often to look whether it is due, or waits for a further attempt."""
NAME = "DMARC Gate"

_WEEK = timedelta(days=7)
_READY_AFTER = timedelta(hours=6)
"""After Monday's midnight: by then the reports on Sunday are out."""
_RUN, _HAND_OVER = "digest", "digest hand-over"
_ALONE_FOR = timedelta(minutes=10)
"""So long nobody else hands it over: longer than one attempt takes."""


def send_due_digest(node: Node, store: Store, *, now: datetime | None = None) -> None:
    """Make the summary of the last full week unless any node did, and hand over what was made.

    What Postfix does not take now is tried again, with the same octets, by whichever node comes first. Nothing while
    the setting names no address; whose address is new gets the last week's at once.
    """
    moment = now or datetime.now(UTC)
    with store.read() as connection:
        settings = stored_settings.current(connection).settings
        is_due = last_run.is_due(connection, _RUN, _due_since(moment), moment)
        waits = last_run.message(connection, _RUN) is not None
    if not settings.reports.digest_address:
        return
    if is_due:
        _freeze(node, store, settings, moment)
    if is_due or waits:
        _hand_over(node, store, moment)


def last_week(now: datetime) -> Week:
    """The last full week that is over at *now* (aware)."""
    monday = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    end = monday - timedelta(days=monday.weekday())
    return Week(end - _WEEK, end)


def _due_since(now: datetime) -> datetime:
    """A summary made from then on is this week's."""
    return last_week(now - _READY_AFTER).until + _READY_AFTER


def _freeze(node: Node, store: Store, settings: Settings, now: datetime) -> None:
    since = _due_since(now)
    octets = _compose(digest_text(node, store, settings, last_week(since), now), settings, since, now)
    with store.read() as connection:
        signers = keys.signing_keys(connection, domain_of(_author(settings)))
    octets = signed(octets, signers, now)
    with store.begin() as connection:
        if last_run.begin(connection, _RUN, since, now):
            last_run.keep_message(connection, _RUN, octets)


def _compose(text: str, settings: Settings, since: datetime, now: datetime) -> bytes:
    week, author = last_week(since), _author(settings)
    message = EmailMessage(policy=SEVEN_BIT)
    message["From"] = Address(settings.reports.organization or NAME, addr_spec=author)
    message["To"] = Address(addr_spec=settings.reports.digest_address)
    message["Subject"] = f"{NAME}: summary of {week.first_day} to {week.last_day}"
    message["Date"] = format_datetime(now.astimezone(UTC))
    message["Message-ID"] = f"<{secrets.token_hex(14)}@{domain_of(author)}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    return message.as_bytes()


def _author(settings: Settings) -> str:
    return settings.reports.address or settings.reports.digest_address


def _hand_over(node: Node, store: Store, now: datetime) -> None:
    with store.begin() as connection:
        octets = last_run.message(connection, _RUN)
        is_ours = last_run.begin(connection, _HAND_OVER, now - _ALONE_FOR, now)
    if octets is None or not is_ours:
        return
    header = message_from_bytes(octets, policy=SMTP)
    author, recipient = (header[name].addresses[0].addr_spec for name in ("From", "To"))
    listener = Endpoint.parse(node.postfix.reports)
    with Courier(listener.host, listener.port) as courier:
        attempted = courier.hand_over(author, recipient, octets)
    get_logger().info("digest", outcome=attempted.outcome, reply=attempted.reply)
    if attempted.outcome is not HandOver.DEFERRED:
        with store.begin() as connection:
            last_run.keep_message(connection, _RUN, None)
