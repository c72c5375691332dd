"""``dmarcgate verify``: JSON lines in, verdicts out, for replaying corpora and for tests by others."""

import asyncio
import base64
import binascii
import json
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click

from appliance.checks.authenticate import Assessment, authenticate
from appliance.checks.organizational import find_organizational_domain
from appliance.checks.spf_explanation import find_explanation
from appliance.dmarc.discovery import LookupFailed
from appliance.dmarc.evaluation import DmarcWord, Evaluation
from appliance.dmarc.record import Policy
from appliance.mail import results_header
from appliance.mail.address import unmapped
from appliance.mail.author import Author, find_author
from appliance.mail.message import Envelope, IPAddress, Message, split_message
from appliance.node import Endpoint, NodeError, read_node
from appliance.resolver import Resolver
from reporting.destinations import report_addresses

_DEFAULT_TIMEOUT_SECONDS = 5.0
_WALK_SECONDS = 20.0


class UnusableInput(ValueError):
    """The input line can't be evaluated; the message is one line that says why."""


@click.command("verify")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="The node file.")
@click.option("--resolver", metavar="ADDRESS:PORT", help="The name server for lines without dns.")
def verify_command(config: Path | None, resolver: str | None) -> None:
    """Answer each JSON line of standard input with one JSON line, at once and in order."""
    nameserver = resolver or _nameserver(config)
    with asyncio.Runner() as runner:
        for line in sys.stdin.buffer:
            answer = runner.run(answer_line(line, nameserver))
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


def _nameserver(config: Path | None) -> str:
    """The node's resolver; without a node file every line must name its own."""
    if config is None:
        try:
            return read_node(None).resolver
        except NodeError:
            return ""
    return read_node(config).resolver


async def answer_line(line: bytes, nameserver: str) -> dict[str, Any]:
    """The answer to one line, as it goes out; trouble with the line itself is its ``error``."""
    id_: object = None
    try:
        request = json.loads(line)
        if not isinstance(request, dict):
            raise UnusableInput("the line is not a JSON object")
        id_ = request.get("id")
        with_server = _Request(request, nameserver)
        match request.get("op"):
            case "verify":
                answer = await _verify(with_server)
            case "report_uris":
                answer = await _report_uris(with_server)
            case _:
                raise UnusableInput("op is verify or report_uris")
    except UnusableInput as error:
        return {"id": id_, "error": str(error)}
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return {"id": id_, "error": "the line is not JSON"}
    return {"id": id_, **answer, "error": None}


class _Request:
    """One line's values, each read with its type."""

    def __init__(self, values: Mapping[str, Any], nameserver: str) -> None:
        self._values = values
        self._nameserver = nameserver

    def text(self, key: str, default: str = "") -> str:
        value = self._values.get(key, default)
        if value is None:
            return default
        if not isinstance(value, str):
            raise UnusableInput(f"{key} is not text")
        return value

    def envelope_text(self, key: str) -> str:
        text = self.text(key)
        if "\r" in text or "\n" in text:
            raise UnusableInput(f"{key} holds a line end")
        return text

    def address(self) -> IPAddress | None:
        text = self.text("ip")
        if not text:
            return None
        try:
            return unmapped(ip_address(text))
        except ValueError:
            raise UnusableInput("ip is no IPv4 or IPv6 address") from None

    def message(self) -> bytes | None:
        if self._values.get("message_b64") is None:
            return None
        try:
            return base64.b64decode(self.text("message_b64"), validate=True)
        except (binascii.Error, ValueError):
            raise UnusableInput("message_b64 is not base64") from None

    def moment(self) -> datetime:
        now = self._number("now", time.time())
        try:
            return datetime.fromtimestamp(now, UTC)
        except (ValueError, OverflowError, OSError):
            raise UnusableInput("now is no time in Unix seconds") from None

    def resolver(self) -> Resolver:
        address = self.text("dns", self._nameserver)
        try:
            Endpoint.parse(address)
        except ValueError:
            raise UnusableInput("dns is not ADDRESS:PORT") from None
        timeout = self._number("dns_timeout", _DEFAULT_TIMEOUT_SECONDS)
        if not 0 < timeout <= 60:
            raise UnusableInput("dns_timeout is not between 0 and 60 seconds")
        try:
            return Resolver(address, query_timeout_seconds=timeout)
        except ValueError:
            raise UnusableInput("dns is not ADDRESS:PORT") from None

    def _number(self, key: str, default: float) -> float:
        value = self._values.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UnusableInput(f"{key} is not a number")
        return float(value)


async def _verify(request: _Request) -> dict[str, Any]:
    client_ip, octets, now = request.address(), request.message(), request.moment()
    fields, body = split_message(octets or b"")
    envelope = Envelope(
        client_ip=client_ip,
        client_name="",
        helo=request.envelope_text("helo"),
        mail_from=request.envelope_text("mail_from"),
        recipients=(),
        queue_id="",
        received_at=now,
    )
    message = Message(envelope, fields, body)
    author = Author() if octets is None else find_author(message)
    resolver = request.resolver()
    try:
        assessment = await authenticate(
            message,
            client_ip=client_ip,
            helo=envelope.helo,
            author_domains=author.domains,
            resolver=resolver,
            now=now,
        )
        decisive = _decisive(assessment)
        organizational = ""
        if decisive is not None:
            organizational = decisive.organizational_domain or await _organizational(decisive, resolver)
        explanation = await find_explanation(
            client_ip,
            envelope.helo,
            envelope.mail_from,
            answers=assessment.answers,
            resolver=resolver,
            now=now,
        )
    finally:
        await resolver.close()
    return _answer(author, assessment, decisive, organizational, octets is None) | {"spf_exp": explanation}


def _decisive(assessment: Assessment) -> Evaluation | None:
    """The evaluation to show: the first that fails, else the first."""
    failing = [e for e in assessment.evaluations if e.result is DmarcWord.FAIL]
    return next(iter([*failing, *assessment.evaluations]), None)


async def _organizational(evaluation: Evaluation, resolver: Resolver) -> str:
    try:
        return await find_organizational_domain(
            evaluation.author_domain, resolver, time.monotonic() + _WALK_SECONDS
        )
    except LookupFailed:
        return ""


def _answer(
    author: Author,
    assessment: Assessment,
    decisive: Evaluation | None,
    organizational: str,
    spf_only: bool,  # noqa: FBT001
) -> dict[str, Any]:
    authentication = assessment.authentication
    result = "none"
    if not spf_only:
        result = results_header.overall_word(
            assessment.evaluations, unusable=author.unusable, incomplete=author.incomplete
        )
    failed = decisive is not None and decisive.result is DmarcWord.FAIL
    return {
        "spf": authentication.spf.result.value,
        "spf_exp": None,
        "dkim": [{"d": s.domain, "s": s.selector, "result": s.result.value} for s in authentication.dkim],
        "arc": authentication.arc.result.value,
        "dmarc": result,
        "policy": decisive.policy.value if decisive and decisive.policy else None,
        "disposition": (decisive.requested or Policy.NONE).value
        if failed and decisive
        else Policy.NONE.value,
        "policy_domain": decisive.policy_domain if decisive else None,
        "org_domain": organizational or None,
        "author_domain": decisive.author_domain if decisive else None,
        "spf_aligned": _aligned(decisive is not None and decisive.spf_aligned),
        "dkim_aligned": _aligned(decisive is not None and decisive.dkim_aligned),
    }


def _aligned(is_aligned: bool) -> str:  # noqa: FBT001
    return "pass" if is_aligned else "fail"


async def _report_uris(request: _Request) -> dict[str, Any]:
    resolver = request.resolver()
    try:
        addresses = await report_addresses(
            request.text("policy_domain"), request.text("record").encode("utf-8", "surrogateescape"), resolver
        )
    finally:
        await resolver.close()
    return {"rua": list(addresses.rua), "ruf": list(addresses.ruf)}
