"""What the acceptance tests do and see from outside: settings put in force, commands, questions to the DNS, report rows."""

import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import count

from appliance.lab.gateway import Gateway
from appliance.lab.mailbox import DeliveredMessage
from appliance.mail.message import split_message, unfold
from appliance.settings import Settings
from appliance.settings.names import replaced
from appliance.store import events, facts, settings
from appliance.store.facts import ReportRow
from appliance.store.records import Event

STRANGER = "198.51.100.66"
REPORTING: dict[str, object] = {
    "reports.enabled": True,
    "reports.organization": "Corp",
    "reports.address": "dmarc@corp.example",
    "reports.readiness_override": "a test",
}
"""What a save demands of whoever switches reports on."""

_DAY = 86_400
_NEAR_MIDNIGHT = timedelta(seconds=60)
_numbers = count(1)


def fresh(label: str = "d") -> str:
    """A domain that nobody has asked for yet, so that no cache knows it."""
    return f"{label}{next(_numbers)}.test"


def today() -> date:
    """The UTC day, which lasts a minute more at least."""
    now = datetime.now(UTC)
    if (now + _NEAR_MIDNIGHT).date() != now.date():
        time.sleep(_NEAR_MIDNIGHT.total_seconds() + 1)
    return datetime.now(UTC).date()


def publish(gateway: Gateway, policy: str, *, spf: str = "-all", rua: bool = True) -> str:
    """A fresh domain whose DMARC record says *policy*, such as ``p=reject``."""
    domain = fresh()
    wish = f"; rua=mailto:d@{domain}" if rua else ""
    gateway.zone.txt(f"_dmarc.{domain}", f"v=DMARC1; {policy}{wish}")
    gateway.zone.txt(domain, f"v=spf1 {spf}")
    return domain


def mail(author: str, *, top: bytes = b"", body: bytes = b"Hello\r\n") -> bytes:
    """A message; *top* is header fields above it."""
    return top + f"From: Ann <{author}>\r\nTo: u@corp.example\r\nSubject: x\r\n\r\n".encode() + body


# ---- settings -------------------------------------------------------------------


def save(gateway: Gateway, changes: Mapping[str, object]) -> int:
    """Save the defaults but for *changes*, by dotted names; the number of the revision."""
    wanted = replaced(Settings(), changes)
    with gateway.store.begin() as connection:
        current = settings.current(connection)
        if current.settings == wanted:
            return current.number
        return settings.save(connection, wanted, based_on=current.number, author="a test").number


def put_in_force(gateway: Gateway, changes: Mapping[str, object]) -> int:
    """``save``, and wait until every worker has it."""
    number = save(gateway, changes)
    gateway.await_revision(number)
    return number


def current_number(gateway: Gateway) -> int:
    with gateway.store.read() as connection:
        return settings.current_number(connection)


# ---- commands -------------------------------------------------------------------


def command(gateway: Gateway, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run ``dmarcgate WORDS…`` as the gateway's administrator does."""
    return subprocess.run(
        [sys.executable, "-m", "appliance", *words, "--config", str(gateway.node_file)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# ---- what is seen ---------------------------------------------------------------


def marks(message: DeliveredMessage) -> tuple[str, ...]:
    """The names of its fields that look like ours, lower-case, top to bottom."""
    ours = {b"authentication-results", b"x-dmarc-result"}
    names = (field.name.lower() for field in message.fields)
    return tuple(name.decode() for name in names if name in ours)


def questions(gateway: Gateway, domain: str) -> int:
    """How often the gateway asked the DNS about *domain* or a name below it."""
    return sum(
        query.name == domain or query.name.endswith("." + domain) for query in gateway.nameserver.queries
    )


def report_rows(gateway: Gateway, policy_domain: str) -> list[tuple[ReportRow, int]]:
    """What is kept for reports about *policy_domain*, with how often it was seen."""
    now = int(time.time()) // _DAY * _DAY
    begin, end = now - _DAY, now + 2 * _DAY
    with gateway.store.read() as connection:
        return [
            found
            for group in facts.policy_groups(connection, begin, end)
            if group.policy_domain == policy_domain
            for found in facts.aggregate_rows(connection, group, begin, end)
        ]


def reported(gateway: Gateway) -> set[str]:
    """Every policy domain of which something is kept for reports."""
    now = int(time.time()) // _DAY * _DAY
    with gateway.store.read() as connection:
        return {group.policy_domain for group in facts.policy_groups(connection, now - _DAY, now + 2 * _DAY)}


def events_for(gateway: Gateway, recipient: str) -> list[Event]:
    """The latest events, the newest first, of mail to *recipient*."""
    with gateway.store.read() as connection:
        newest = events.recent(connection, 20)
    return [event for event in newest if event.envelope.recipients[0].address == recipient]


def held_copy(gateway: Gateway, event_id: str) -> bytes:
    """A quarantined message as it is kept."""
    [file] = (gateway.directory / "quarantine").rglob(f"{event_id}.*")
    return file.read_bytes()


def texts(octets: bytes, name: str) -> list[str]:
    """The unfolded values of all *name* fields of a message, top to bottom."""
    wanted = name.lower().encode("ascii")
    return [unfold(field.value) for field in split_message(octets)[0] if field.is_named(wanted)]


def event_count(gateway: Gateway) -> int:
    with gateway.store.read() as connection:
        return events.count(connection)
