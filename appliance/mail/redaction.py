"""Take out of a message's header what says who writes to whom about what, for failure reports (RFC 6590, RFC 9991).

Two steps: ``pruned_header`` keeps of a hostile header a few fields, each in a form of ours, and marks the local parts
of addresses; a ``Redactor`` puts codes in their place. No text of the sender's own gets through: no Subject, display
name, comment, Received or X- field.
"""

import hashlib
import hmac
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from appliance.mail.domain import InvalidDomain, to_a_label
from appliance.mail.message import HeaderField, is_field_name, unfold
from appliance.mail.tokens import Kind, NotStructured, Token, tokens

MAX_HEADER_OCTETS = 16_000
MAX_FIELD_OCTETS = 8_000  # longer ones are left out: they were not written by an honest sender
MAX_FIELDS = 60
MAX_ADDRESSES = 20  # in one field
MAX_LINE = 900  # RFC 5322 section 2.1.1 allows 998

_BEGIN, _END = "\x01", "\x02"
_MARKED = re.compile(f"{_BEGIN}([^{_END}]*){_END}")
_CODE_DIGITS = 24
_CODE = re.compile(rb"redacted-([0-9a-f]{%d})@" % _CODE_DIGITS)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_NOT_PLAIN = re.compile(r"[^ -~]")
_DATE = re.compile(
    r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), )?\d{1,2} (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4}"
    r" \d\d:\d\d(?::\d\d)? (?:[+-]\d{4}|GMT)(?![0-9A-Za-z])",
    re.ASCII,
)
_BASE64 = re.compile(r"[A-Za-z0-9+/]{1,2800}={0,2}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,20}", re.ASCII)
_TAG_VALUES = {
    "v": _NUMBER,
    "a": re.compile(r"(?:rsa|ed25519)-sha(?:1|256)", re.ASCII),
    "c": re.compile(r"(?:simple|relaxed)(?:/(?:simple|relaxed))?", re.ASCII),
    "cv": re.compile(r"none|pass|fail", re.ASCII),
    "h": re.compile(r"[A-Za-z0-9:-]{1,800}", re.ASCII),
    "t": _NUMBER,
    "x": _NUMBER,
    "l": _NUMBER,
    "bh": _BASE64,
    "b": _BASE64,
}
"""What a signature's tags may hold; ``d``, ``s`` and ``i`` are looked at more closely, others are left out: ``z`` …"""
_NEVER = frozenset({"bcc", "resent-bcc"})


@dataclass(frozen=True, slots=True)
class Redactor:
    """Makes codes of local parts: for one *key* the same address gets the same code, and nobody else can make it."""

    key: bytes = field(repr=False)

    def redact(self, text: str) -> str:
        """*text* with codes in place of what is marked in it."""
        return _MARKED.sub(lambda found: self._code(found[1]), text)

    def for_receiver(self, octets: bytes, domain: str) -> bytes:
        """*octets* with the codes that receivers at *domain* get: two of them can't find out whom both were told of."""
        return _CODE.sub(
            lambda found: b"redacted-%s@" % self._digits(domain.encode() + b" " + found[1]), octets
        )

    def _code(self, local_part: str) -> str:
        octets = local_part.lower().encode("utf-8", "surrogateescape")
        return f"redacted-{self._digits(octets).decode()}"

    def _digits(self, octets: bytes) -> bytes:
        return hmac.new(self.key, octets, hashlib.sha256).hexdigest()[:_CODE_DIGITS].encode()


def marked_address(local_part: str, domain: str) -> str:
    """An address whose local part is to be redacted; ``""`` when *domain* is none."""
    name = _domain(domain)
    return f"{_BEGIN}{_CONTROLS.sub('', local_part)}{_END}@{name}" if name else ""


def pruned_header(fields: Iterable[HeaderField]) -> tuple[str, ...]:
    """What is kept of a header, local parts marked: fields without their closing CR LF, folded where they are long."""
    return _bounded(_pruned(fields))


def plain_header(fields: Iterable[HeaderField]) -> tuple[str, ...]:
    """The header as it is, in printable ASCII and within bounds; without the fields that name hidden recipients."""
    return _bounded(_plain(fields))


def plain(text: str, limit: int = MAX_FIELD_OCTETS) -> str:
    """*text* on one line, in printable ASCII."""
    return _NOT_PLAIN.sub("?", text[:limit])


def folded(text: str) -> str:
    """*text*, printable, on lines that are not too long; cut at spaces as far as it has any."""
    if len(text) <= MAX_LINE:
        return text
    return "\r\n ".join(textwrap.wrap(text, MAX_LINE, break_on_hyphens=False))


def _bounded(lines: Iterable[str]) -> tuple[str, ...]:
    kept, room = [], MAX_HEADER_OCTETS
    for line in islice(lines, MAX_FIELDS):
        room -= len(line) + 2
        if room < 0:
            break
        kept.append(line)
    return tuple(kept)


def _plain(fields: Iterable[HeaderField]) -> Iterator[str]:
    for one in fields:
        name = one.name.rstrip(b" \t")
        if not is_field_name(name) or name.decode().lower() in _NEVER:
            continue
        yield folded(plain(f"{name.decode()}: {unfold(one.value[:MAX_FIELD_OCTETS])}"))


def _pruned(fields: Iterable[HeaderField]) -> Iterator[str]:
    for one in fields:
        known = _KEPT.get(one.name.rstrip(b" \t").lower())
        if known is None or len(one.value) > MAX_FIELD_OCTETS:
            continue
        name, prune = known
        if text := prune(one.value):
            yield f"{name}: {text}"


def _addresses(value: bytes) -> str:
    return ",\r\n ".join(islice(_marked_addresses(value), MAX_ADDRESSES))


def _message_id(value: bytes) -> str:
    found = next(_marked_addresses(value), "")
    return f"<{found}>" if found else ""


def _marked_addresses(value: bytes) -> Iterator[str]:
    """Whatever in *value* looks like an address, in its order, until something is no token."""
    word: Token | None = None
    is_at = False
    try:
        for token in tokens(value):
            if token.kind is Kind.COMMENT:
                continue
            if (
                is_at
                and word
                and token.kind is Kind.ATOM
                and (found := marked_address(word.text, token.text))
            ):
                yield found
            is_at = token.is_special("@") and word is not None
            if not is_at:
                word = token if token.kind in {Kind.ATOM, Kind.QUOTED} else None
    except NotStructured:
        return


def _date(value: bytes) -> str:
    found = _DATE.match(unfold(value[:200]))
    return found[0] if found else ""


def _signature(value: bytes) -> str:
    tags = (tag for piece in unfold(value).split(";") if (tag := _tag(piece)))
    return ";\r\n ".join(tags)


def _tag(piece: str) -> str:
    """One tag of a signature, white space left out; ``""`` for what is not kept."""
    name, _, value = "".join(piece.split()).partition("=")
    match name:
        case "d" | "s":
            kept = _domain(value)
        case "i":
            local_part, at, domain = value.rpartition("@")
            kept = marked_address(local_part, domain) if at else _matching(_NUMBER, value)
            kept = kept.removeprefix(_BEGIN + _END)
        case _:
            kept = _matching(_TAG_VALUES[name], value) if name in _TAG_VALUES else ""
    return f"{name}={_broken(kept)}" if kept else ""


def _broken(value: str) -> str:
    """A long value in pieces, between which white space has no meaning."""
    pieces = [value[at : at + MAX_LINE] for at in range(0, len(value), MAX_LINE)]
    return "\r\n ".join(pieces)


def _matching(pattern: re.Pattern[str], value: str) -> str:
    return value if pattern.fullmatch(value) else ""


def _domain(text: str) -> str:
    try:
        return to_a_label(text)
    except (InvalidDomain, UnicodeError):
        return ""


_KEPT: dict[bytes, tuple[str, Callable[[bytes], str]]] = {
    name.lower().encode(): (name, prune)
    for prune, names in (
        (_addresses, ("From", "Sender", "Reply-To", "Resent-From", "Resent-Sender", "To")),
        (_date, ("Date",)),
        (_message_id, ("Message-ID",)),
        (_signature, ("DKIM-Signature", "ARC-Seal", "ARC-Message-Signature")),
    )
    for name in names
}
