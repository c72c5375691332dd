"""What can be seen of the local Postfix: its listeners, its parameters, its queue."""

import json
import os
import shutil
import smtplib
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from appliance.node import Endpoint
from reporting.readiness.measure import Measure, Subject, failing, ok, warning

PROBE_SECONDS = 30.0
LATE_AFTER = timedelta(hours=1)
STUCK = 10  # messages that wait longer than that: the way out is closed, not one receiver slow
MAX_TEXT = 200

OUTSIDE = "postmaster@example.com"
"""A recipient elsewhere (RFC 2606); nothing is sent to it."""

_PARAMETERS = ("relayhost", "smtp_bind_address", "smtp_bind_address6", "inet_protocols")


@dataclass(frozen=True, slots=True)
class Greeting:
    """What the listener for reports says when we come."""

    measure: Measure
    name: str = ""
    """Postfix's own name: the HELO name, unless somebody set it apart."""


def greet(listener: str, sender: str) -> Greeting:
    """Whether the *listener* for reports takes mail of *sender* to another's domain."""
    try:
        with _Conversation(Endpoint.parse(listener)) as postfix:
            name = postfix.name
            refusal = postfix.offer(sender, OUTSIDE)
    except (OSError, smtplib.SMTPException) as error:
        return Greeting(
            failing(
                Subject.WAY_OUT,
                f"no answer at {listener}: {printable(str(error))}",
                "start Postfix, or make postfix.reports of the node file and its master.cf agree",
            )
        )
    if refusal:
        return Greeting(
            failing(
                Subject.WAY_OUT,
                f"Postfix at {listener} refuses reports: {refusal}",
                "give it the listener for reports of the gateway's own master.cf",
            ),
            name,
        )
    return Greeting(ok(Subject.WAY_OUT, f"Postfix ({name}) takes reports at {listener}"), name)


def refusal_of(listener: str, recipient: str, helo: str) -> str:
    """What Postfix says to a stranger with a bounce for *recipient*; ``""`` when it takes it.

    Raises ``OSError`` or ``smtplib.SMTPException`` without an answer.
    """
    with _Conversation(Endpoint.parse(listener), helo) as postfix:
        return postfix.offer("", recipient)


def parameters(configuration: Path) -> Mapping[str, str]:
    """The parameters that say where mail leaves; empty where Postfix can't be asked."""
    output = _output("postconf", configuration, "-x", *_PARAMETERS)
    pairs = (line.partition("=") for line in output.splitlines())
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


def look_at_queue(configuration: Path, now: datetime) -> Measure:
    """Whether mail gets away: a provider that blocks port 25 shows here only."""
    if _program("postqueue") is None:
        return warning(
            Subject.QUEUE, "there is no postqueue program to ask", "look at Postfix's queue by hand"
        )
    try:
        waiting = list(_waiting(_output("postqueue", configuration, "-j", strict=True), now))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return warning(
            Subject.QUEUE,
            f"Postfix's queue could not be read: {printable(str(error))}",
            "run this as root, and see that Postfix runs; postqueue -p shows the queue",
        )
    late = [message for message in waiting if now - message.since > LATE_AFTER]
    if not late:
        return ok(Subject.QUEUE, f"{len(waiting)} messages wait in Postfix's queue, none longer than an hour")
    oldest = min(late, key=lambda message: message.since)
    measured = (
        f"{len(late)} messages wait for more than an hour, the oldest since {oldest.since:%Y-%m-%d %H:%M} UTC: "
        f"{oldest.reason or 'no reason is told'}"
    )
    remedy = "postqueue -p shows them; where all time out, the network does not let port 25 out"
    return (failing if len(late) >= STUCK else warning)(Subject.QUEUE, measured, remedy)


def printable(text: str) -> str:
    """*text* of others, cut, on one line."""
    return "".join(char if char.isprintable() else " " for char in text[:MAX_TEXT])


class _Conversation:
    """A client that offers mail and never sends any."""

    def __init__(self, place: Endpoint, helo: str = "localhost") -> None:
        self._smtp = smtplib.SMTP(local_hostname=helo, timeout=PROBE_SECONDS)
        try:
            code, greeting = self._smtp.connect(place.host, place.port)
            if code != 220:
                raise smtplib.SMTPConnectError(code, greeting)
            self._smtp.ehlo_or_helo_if_needed()
        except BaseException:
            self._smtp.close()
            raise
        self.name = printable(greeting.decode("latin-1")).partition(" ")[0].lower()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._smtp.quit()
        except (smtplib.SMTPException, OSError):
            self._smtp.close()

    def offer(self, sender: str, recipient: str) -> str:
        """The reply that refused, or ``""``."""
        for command, argument in (("MAIL", f"FROM:<{sender}>"), ("RCPT", f"TO:<{recipient}>")):
            code, reply = self._smtp.docmd(command, argument)
            if not 200 <= code < 300:
                return printable(f"{code} {reply.decode('latin-1')}")
        return ""


@dataclass(frozen=True, slots=True)
class _Waiting:
    since: datetime
    reason: str


def _waiting(output: str, now: datetime) -> Iterator[_Waiting]:
    """The messages in ``postqueue -j``'s *output*, one JSON object a line."""
    for line in output.splitlines():
        message = json.loads(line)
        reasons = [recipient.get("delay_reason", "") for recipient in message.get("recipients", ())]
        since = datetime.fromtimestamp(message.get("arrival_time", now.timestamp()), UTC)
        if message.get("queue_name") != "hold":
            yield _Waiting(since, printable(next(filter(None, reasons), "")))


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")


def _output(name: str, configuration: Path, *arguments: str, strict: bool = False) -> str:
    """What the Postfix program *name* prints; unless *strict*, nothing when it fails."""
    program = _program(name)
    if program is None:
        return ""
    done = subprocess.run(  # noqa: S603  Postfix's own program, our own arguments
        [program, "-c", str(configuration), *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=PROBE_SECONDS,
        check=False,
    )
    if strict and done.returncode:
        raise OSError(done.stderr.strip() or f"{name} ended with status {done.returncode}")
    return done.stdout if not done.returncode else ""
