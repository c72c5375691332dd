"""Domain names as this product compares them: A-labels, lower case, no trailing dot (RFC 5890)."""

import re
from functools import lru_cache

import idna

MAX_NAME_OCTETS = 253
MAX_LABEL_OCTETS = 63

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?", re.ASCII)


class InvalidDomain(ValueError):
    """The text is not a domain name; the message says why."""


@lru_cache(maxsize=16_384)
def to_a_label(text: str) -> str:
    """*text* as lower-case A-labels without a trailing dot.

    U-labels go through UTS-46 (non-transitional) and IDNA2008. Letters, digits, hyphens and underscores only.
    Raises ``InvalidDomain``.
    """
    name = text.removesuffix(".")
    if len(name) > MAX_NAME_OCTETS:  # before any work: A-labels are never shorter than what they stand for
        raise InvalidDomain(f"longer than {MAX_NAME_OCTETS} octets")
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True, transitional=False).decode("ascii")
        except (idna.IDNAError, UnicodeError) as error:
            raise InvalidDomain(f"not a valid internationalized domain name: {error}") from None
    name = name.lower()
    if not name:
        raise InvalidDomain("empty domain name")
    if len(name) > MAX_NAME_OCTETS:
        raise InvalidDomain(f"longer than {MAX_NAME_OCTETS} octets")
    for label in name.split("."):
        if len(label) > MAX_LABEL_OCTETS:
            raise InvalidDomain(f"a label is longer than {MAX_LABEL_OCTETS} octets")
        if not _LABEL.fullmatch(label):
            raise InvalidDomain(
                "a label is empty or holds more than letters, digits, hyphens and underscores"
            )
    return name


def is_domain(text: str) -> bool:
    """Whether ``to_a_label`` accepts *text*."""
    try:
        to_a_label(text)
    except InvalidDomain:
        return False
    return True


def to_u_label(name: str) -> str:
    """An A-label name as people write it; returned unchanged where it can't be decoded."""
    if "xn--" not in name:
        return name
    try:
        return idna.decode(name)
    except (idna.IDNAError, UnicodeError):
        return name


def is_below(name: str, ancestor: str) -> bool:
    """Whether *name* is a proper subdomain of *ancestor*; both as ``to_a_label`` gives them."""
    return name.endswith("." + ancestor)


def domain_of(address: str) -> str:
    """What stands after the last unquoted ``@`` of *address*; ``""`` without one. Not validated."""
    quoted = escaped = False
    at = -1
    for place, char in enumerate(address):
        if escaped:
            escaped = False
        elif quoted and char == "\\":
            escaped = True
        elif char == '"':
            quoted = not quoted
        elif char == "@" and not quoted:
            at = place
    return address[at + 1 :] if at >= 0 else ""
