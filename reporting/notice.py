"""Read what came back of a report: a delivery status notification (RFC 3464, RFC 6522), hostile until checked.

Only the outermost parts are looked at, and of those one. Nothing is decoded, unpacked or read as XML: bombs stay shut.
"""

import re
from collections.abc import Iterator

from appliance.mail.message import HeaderField, split_message, unfold
from appliance.store.deliveries import News
from appliance.store.reports import Fate

MAX_PARTS = 20
MAX_STATUS_OCTETS = 64_000
MAX_DIAGNOSTIC = 500  # characters

_MULTIPART = re.compile(r"multipart/[a-z0-9.+-]+[ \t]*;", re.ASCII | re.IGNORECASE)
_BOUNDARY = re.compile(r';[ \t]*boundary[ \t]*=[ \t]*(?:"([^"\\]{1,70})"|([^\s";]{1,70}))', re.IGNORECASE)
_STATUS_PART = re.compile(r"message/(?:global-)?delivery-status\b", re.ASCII | re.IGNORECASE)
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}\b", re.ASCII)
_BLANK_LINE = re.compile(rb"\r\n[ \t]*(?:\r\n)+")
_DELIVERED = {"delivered", "relayed", "expanded"}
_MILDEST_FIRST = (Fate.DELIVERED, Fate.DEFERRED, Fate.EXPIRED, Fate.BOUNCED)


def read_notice(octets: bytes, recipient: str) -> News:
    """What the message says about the report to *recipient*. What can't be understood is a soft bounce (BNC-02).

    An address may stand for many: the report is undelivered only where none of them got it.
    """
    fields, body = split_message(octets)
    groups = [group for part in _status_parts(fields, body) for group in _groups(part)]
    ours = [group for group in groups if _is_about(group, recipient)] or groups
    news = [found for found in map(_news, ours) if found is not None]
    if news:
        return min(news, key=lambda one: _MILDEST_FIRST.index(one.fate))
    return News(Fate.DEFERRED, printable(f"not a delivery status notification: {_first(fields, b'subject')}"))


def printable(text: str) -> str:
    """*text* on one line, fit for a page and a terminal, and not too long."""
    shown = "".join(char if char.isprintable() else " " for char in text[: 4 * MAX_DIAGNOSTIC])
    return " ".join(shown.split())[:MAX_DIAGNOSTIC]


def diagnostic(status: str, reply: str) -> str:
    """What people read: the *reply*, and its enhanced *status* code where it does not say that itself."""
    return printable(reply if status in reply else f"{status} {reply}")


def _status_parts(fields: tuple[HeaderField, ...], body: bytes) -> Iterator[bytes]:
    """What stands in the parts of the type that machines read."""
    content_type = _first(fields, b"content-type")
    boundary = _BOUNDARY.search(content_type) if _MULTIPART.match(content_type) else None
    if boundary is None:
        return
    mark = re.escape((boundary[1] or boundary[2]).encode("utf-8", "surrogateescape"))
    delimiter = re.compile(rb"^--" + mark + rb"(?:--)?[ \t]*\r?$\n?", re.MULTILINE)
    for part in delimiter.split(body, maxsplit=MAX_PARTS)[1:]:
        inner, content = split_message(part)
        if _STATUS_PART.match(_first(inner, b"content-type")):
            yield content[:MAX_STATUS_OCTETS]


def _groups(content: bytes) -> Iterator[tuple[HeaderField, ...]]:
    """The fields about each recipient; those about the whole message, which come first, have no Action."""
    for octets in _BLANK_LINE.split(content):
        group, _ = split_message(octets.lstrip(b"\r\n"))
        if _first(group, b"action"):
            yield group


def _is_about(group: tuple[HeaderField, ...], recipient: str) -> bool:
    named = (_first(group, name).rpartition(";")[2] for name in (b"original-recipient", b"final-recipient"))
    return any(name.strip().strip("<>").lower() == recipient.lower() for name in named)


def _news(group: tuple[HeaderField, ...]) -> News | None:
    action = _first(group, b"action").partition("(")[0].strip().lower()
    status = _STATUS.match(_first(group, b"status"))
    word = status[0] if status else ""
    fate = _fate(action, word)
    if fate is None:
        return None
    reply = _first(group, b"diagnostic-code").partition(";")[2].strip()
    return News(fate, diagnostic(word, reply) or action)


def _fate(action: str, status: str) -> Fate | None:
    match action:
        case "failed":
            return Fate.BOUNCED if status.startswith("5") else Fate.EXPIRED
        case "delayed":
            return Fate.DEFERRED
        case _ if action in _DELIVERED:
            return Fate.DELIVERED
    return None


def _first(fields: tuple[HeaderField, ...], name: bytes) -> str:
    return next((unfold(field.value) for field in fields if field.is_named(name)), "")
