"""The mail address in a ``mailto:`` URI of ``rua`` or ``ruf`` (RFC 6068, RFC 9989 section 4.8). Hostile until checked."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from appliance.mail.domain import InvalidDomain, to_a_label

MAX_DESTINATIONS = 10  # more in one record are not looked at (AGG-41)
MAX_LOCAL_PART_OCTETS = 64  # RFC 5321 section 4.5.3.1.1
MAX_ADDRESS_OCTETS = 254  # RFC 5321 section 4.5.3.1.3, without the angle brackets

_SCHEME = "mailto:"
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_DOT_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*", re.ASCII)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.ASCII)
_HOST = re.compile(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+(?![0-9]+$)[a-z0-9]([a-z0-9-]*[a-z0-9])?", re.ASCII)


class InvalidUri(ValueError):
    """No report can go to this URI; the message says why, in our words."""


@dataclass(frozen=True, slots=True)
class MailAddress:
    """An address that a report may be mailed to: printable ASCII, the domain a host name in lower-case A-labels."""

    local_part: str
    """As meant, without quotation marks."""
    domain: str

    def __str__(self) -> str:
        """The address as SMTP and header fields write it; a local part that needs it is quoted."""
        if _DOT_ATOM.fullmatch(self.local_part):
            return f"{self.local_part}@{self.domain}"
        escaped = self.local_part.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"@{self.domain}'


def parse_mailto(uri: str) -> MailAddress:
    """The address in *uri*; header fields after ``?`` are dropped. Raises ``InvalidUri``.

    >>> str(parse_mailto("mailto:a%2Cb@x.test?subject=hello"))
    '"a,b"@x.test'
    """
    if not uri.lower().startswith(_SCHEME):
        raise InvalidUri("not a mailto URI")
    encoded = uri[len(_SCHEME) :].partition("?")[0]
    if "#" in encoded or "," in encoded or encoded.count("@") > 1:
        raise InvalidUri("more than one address, or a character that must be written as %XX")
    if _BAD_ESCAPE.search(encoded):
        raise InvalidUri("a percent sign that starts no escape")
    local_part, at, domain = _decoded(encoded).rpartition("@")
    if not at:
        raise InvalidUri("no address")
    address = MailAddress(_local_part(local_part), _domain(domain))
    if len(str(address)) > MAX_ADDRESS_OCTETS:
        raise InvalidUri("the address is too long")
    return address


def parse_mailtos(uris: Iterable[str]) -> tuple[tuple[MailAddress, ...], tuple[str, ...]]:
    """The addresses in *uris*, in order, each once, ``MAX_DESTINATIONS`` at most; and why others were left out."""
    found: dict[MailAddress, None] = {}
    problems = []
    for uri in uris:
        try:
            address = parse_mailto(uri)
        except InvalidUri as error:
            problems.append(str(error))
            continue
        if len(found) == MAX_DESTINATIONS and address not in found:
            problems.append(f"more than {MAX_DESTINATIONS} addresses")
            break
        found.setdefault(address)
    return tuple(found), tuple(problems)


def _decoded(text: str) -> str:
    try:
        decoded = unquote_to_bytes(text).decode("utf-8")
    except UnicodeError:
        raise InvalidUri("the address is not UTF-8") from None
    if not decoded.isprintable():
        raise InvalidUri("a control character in the address")
    return decoded


def _local_part(text: str) -> str:
    quoted = _QUOTED.fullmatch(text)
    meant = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text
    if not meant:
        raise InvalidUri("no local part")
    if not meant.isascii():
        raise InvalidUri("the local part is not ASCII")  # few receivers take it (RFC 6531)
    if len(meant) > MAX_LOCAL_PART_OCTETS:
        raise InvalidUri("the local part is too long")
    return meant


def _domain(text: str) -> str:
    try:
        domain = to_a_label(text)
    except InvalidDomain:
        raise InvalidUri("the domain is no domain name") from None  # why may quote it
    if not _HOST.fullmatch(domain):
        raise InvalidUri("the domain is not a host name")
    return domain
