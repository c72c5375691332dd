"""What the filter answers at end-of-message, and how that stands on the wire."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from appliance.mail.message import HeaderField, is_field_name
from appliance.milter.wire import Response, encode_frame

_SMTP_REPLY = re.compile(r"([45])[0-9]{2} \1(?:\.[0-9]{1,3}){2} [ -~]+")
_MAX_SMTP_REPLY = 510  # RFC 5321 section 4.5.3.1.5: 512 with CR LF
_FIELD_VALUE = re.compile(rb"(?:[^\0\r\n]+|\r\n[ \t])*")


@dataclass(frozen=True, slots=True)
class Accept:
    """Let the message through.

    *delete* are positions in the message's ``fields``. *insert* goes to the very top, above the MTA's own trace
    field, in the order given; values as in ``HeaderField.value``, with their leading space and CR LF folds.
    """

    delete: tuple[int, ...] = ()
    insert: tuple[HeaderField, ...] = ()


@dataclass(frozen=True, slots=True)
class Discard:
    """Tell the client that the message was taken, and deliver it to nobody."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer the client with *smtp_reply*: one line of printable ASCII like ``550 5.7.26 …`` or ``451 4.7.1 …``."""

    smtp_reply: str


Reply = Accept | Discard | Refuse


def encode_reply(reply: Reply, fields: Sequence[HeaderField], *, leading_space: bool) -> bytes:
    """The frames that say *reply* about a message with *fields*.

    *leading_space* tells that the MTA leaves the space after the colon to us. A reply that would break the
    message or the protocol is a programming error and raises ``ValueError`` or ``IndexError``.
    """
    match reply:
        case Accept():
            # Deletions first: an inserted field would count among those of its name.
            frames = [
                *_deletions(reply.delete, fields),
                *_insertions(reply.insert, leading_space=leading_space),
            ]
            # Not "accept", which would end the events of this message for good: at end-of-message both let it
            # through, and "continue" changes no state of the MTA.
            return b"".join(frames) + encode_frame(Response.CONTINUE)
        case Discard():
            return encode_frame(Response.DISCARD)
        case Refuse():
            return encode_frame(Response.REPLY_CODE, _smtp_reply(reply.smtp_reply))


def _deletions(positions: Sequence[int], fields: Sequence[HeaderField]) -> list[bytes]:
    """Deletions go by name and occurrence, counted from 1, from the bottom up: each shifts those below it."""
    if not positions:
        return []
    wanted = set(positions)
    if not wanted <= set(range(len(fields))):
        raise IndexError(f"fields {sorted(wanted)} of {len(fields)}")
    occurrences: Counter[bytes] = Counter()
    frames = []
    for position, field in enumerate(fields[: max(wanted) + 1]):
        occurrences[field.name.lower()] += 1
        if position in wanted:
            index = occurrences[field.name.lower()].to_bytes(4, "big")
            frames.append(encode_frame(Response.CHANGE_HEADER, index + field.name + b"\0\0"))
    return frames[::-1]


def _insertions(fields: Sequence[HeaderField], *, leading_space: bool) -> list[bytes]:
    """Each goes to position 0, so the last is sent first."""
    frames = []
    for field in reversed(fields):
        if not is_field_name(field.name) or not _FIELD_VALUE.fullmatch(field.value):
            raise ValueError(f"not a header field: {field.octets[:200]!r}")
        value = field.value if leading_space else field.value.removeprefix(b" ")
        payload = bytes(4) + field.name + b"\0" + value.replace(b"\r\n", b"\n") + b"\0"
        frames.append(encode_frame(Response.INSERT_HEADER, payload))
    return frames


def _smtp_reply(line: str) -> bytes:
    if not _SMTP_REPLY.fullmatch(line) or len(line) > _MAX_SMTP_REPLY:
        raise ValueError(f"not an SMTP reply of one line: {line[:600]!r}")
    # Sendmail takes the text for a format string, so the protocol doubles every %; Postfix halves them again.
    return line.replace("%", "%%").encode("ascii") + b"\0"
