"""The address that a report is sent from: a notice to it says which report did not reach whom (VERP, BNC-01).

Its last part is a code that only our nodes can make. All destinations of a report learn its Report-ID, and bounces for
an address keep reports from it: without the code each of them could silence the others.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass, field

from appliance.mail.domain import domain_of
from appliance.settings.model import BOUNCE_PREFIX, Settings
from appliance.store.engine import Store
from appliance.store.secret import shared_key

PROBE = "readiness"
"""Begins the Report-ID of the address by which the readiness check asks whether bounces get in; none of ours does."""

_PURPOSE = "return paths of reports"
_CODE_DIGITS = 12
_LOCAL_PART = re.compile(
    rf"{re.escape(BOUNCE_PREFIX)}(?P<report_id>[0-9a-z]{{1,40}})\.(?P<code>[0-9a-f]{{{_CODE_DIGITS}}})",
    re.ASCII | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Token:
    """What a bounce address says; true only when ``ReturnPaths.recipient`` finds somebody for it."""

    report_id: str
    code: str


@dataclass(frozen=True, slots=True)
class ReturnPaths:
    """Makes and reads the bounce addresses of all our reports."""

    key: bytes = field(repr=False)
    domain: str = ""
    """``""``: that of the report address, so that SPF is aligned."""

    def of(self, report_address: str, report_id: str, recipient: str) -> str:
        """Where notices about the report *report_id* to *recipient* go; *report_address* is what it is from."""
        domain = self.domain or domain_of(report_address)
        return f"{BOUNCE_PREFIX}{report_id}.{self._code(report_id, recipient)}@{domain}"

    def recipient(self, token: Token, candidates: tuple[str, ...]) -> str:
        """Whom of *candidates* the report of *token* went to, by its code; ``""`` when it is nobody's."""
        given = token.code.encode("ascii")
        for address in candidates:
            if hmac.compare_digest(self._code(token.report_id, address).encode("ascii"), given):
                return address
        return ""

    def probe(self, report_address: str, once: str) -> str:
        """A bounce address that is about no report; *once* makes it a new one, of which Postfix remembers nothing."""
        return self.of(report_address, f"{PROBE}{once}", PROBE)

    def is_probe(self, token: Token) -> bool:
        return token.report_id.startswith(PROBE) and bool(self.recipient(token, (PROBE,)))

    def _code(self, report_id: str, recipient: str) -> str:
        said = f"{report_id} {recipient}".encode()
        return hmac.new(self.key, said, hashlib.sha256).hexdigest()[:_CODE_DIGITS]


def return_paths(store: Store, settings: Settings) -> ReturnPaths:
    """Those of this gateway, the same on all nodes."""
    with store.begin() as connection:
        return ReturnPaths(shared_key(connection, _PURPOSE), settings.reports.bounce_domain)


def read_return_path(address: str) -> Token | None:
    """What *address*, one of RCPT TO, says, whatever its domain; ``None`` when it is no bounce address.

    Letters count in either case: mail servers on the way may change it.
    """
    found = _LOCAL_PART.fullmatch(address.rpartition("@")[0])
    return Token(found["report_id"].lower(), found["code"].lower()) if found else None
