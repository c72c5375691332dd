"""What is kept of a message that a failure report is asked for about: no body, and by default nothing personal."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from appliance.dmarc.failure import FailureKind
from appliance.mail.redaction import Redactor
from appliance.store.values import MILLION, to_json, to_micros

_HOUR = 3600 * MILLION


@dataclass(frozen=True, slots=True)
class FailedSignature:
    """The DKIM signature that the report is about."""

    domain: str
    selector: str
    identity: str
    """``i=``, or what stands for it when it is missing."""
    reason: str


@dataclass(frozen=True, slots=True)
class FailureSample:
    """One message and Author Domain, as the filter hands it over and as it is kept."""

    event_id: str
    policy_domain: str
    author_domain: str
    kind: FailureKind
    unaligned: tuple[str, ...]
    """Of ``dkim`` and ``spf`` those that yielded no aligned identity."""
    source_ip: str
    source_port: int | None
    received_at: datetime
    queue_id: str
    node: str
    authserv_id: str
    result: str
    """Of the mechanism that *kind* is about, in the words of RFC 8601."""
    policy: str
    """The policy that applies, for the DMARC kind."""
    delivery: str
    """What became of the message, in the words of RFC 6591 section 3.2.2."""
    mail_from: str
    """``""`` when it can't be written."""
    mail_from_domain: str
    """What SPF was checked for."""
    signature: FailedSignature | None
    spf_records: tuple[tuple[str, str], ...]
    """Domain and text of each record that SPF used, where the report must name them."""
    subject: str
    """``""`` when the sample is redacted."""
    header: tuple[str, ...]
    redacted: bool
    """Whether it holds nothing personal; local parts are only marked until it is kept."""

    @property
    def alike(self) -> bytes:
        """The same for all incidents that one report may stand for, whenever they happen (RUF-04)."""
        return _digest([*self._what])

    @property
    def key(self) -> bytes:
        """The same for those within one hour."""
        return _digest([*self._what, to_micros(self.received_at) // _HOUR])

    @property
    def _what(self) -> tuple[str, ...]:
        return (
            self.policy_domain,
            self.source_ip,
            self.kind.value,
            ",".join(self.unaligned),
            self.author_domain,
        )

    def with_codes(self, redactor: Redactor) -> "FailureSample":
        """This sample with codes in place of the local parts that are marked in it."""
        return replace(
            self,
            mail_from=redactor.redact(self.mail_from),
            signature=self.signature
            and replace(self.signature, identity=redactor.redact(self.signature.identity)),
            header=tuple(map(redactor.redact, self.header)),
        )

    def without_text(self) -> "FailureSample":
        """What is left of it when it will not be used any more."""
        return replace(self, mail_from="", signature=None, spf_records=(), subject="", header=())


def to_document(sample: FailureSample) -> str:
    return to_json(asdict(sample) | {"received_at": to_micros(sample.received_at)})


def from_document(values: Mapping[str, Any], received_at: datetime) -> FailureSample:
    signature = values["signature"]
    return FailureSample(
        **dict(values)
        | {
            "kind": FailureKind(values["kind"]),
            "unaligned": tuple(values["unaligned"]),
            "received_at": received_at,
            "signature": FailedSignature(**signature) if signature else None,
            "spf_records": tuple((domain, text) for domain, text in values["spf_records"]),
            "header": tuple(values["header"]),
        }
    )


def _digest(parts: list[Any]) -> bytes:
    return hashlib.sha256(to_json(parts).encode("ascii")).digest()[:16]
