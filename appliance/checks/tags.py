"""Tag lists, the syntax of signatures and key records (RFC 6376 section 3.2)."""

import re

_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9_]*")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")  # printable; octets above ASCII are U-labels (RFC 8616)
_WHITE_SPACE = b" \t\r\n"


class InvalidTags(ValueError):
    """The text is no tag list. The message is ours, without any of the text."""


def parse_tags(text: bytes) -> dict[bytes, bytes]:
    """Tag names, case kept, to values without surrounding white space, unfolded.

    A name that comes twice, an empty tag and anything unprintable make the whole list invalid: ``InvalidTags``.
    """
    unfolded = text.replace(b"\r\n", b"") if b"\r\n" in text else text
    if not _VALUE.fullmatch(unfolded):
        raise InvalidTags("unprintable characters")
    pieces = unfolded.split(b";")
    if not pieces[-1].strip(_WHITE_SPACE):
        pieces.pop()
    tags: dict[bytes, bytes] = {}
    for piece in pieces:
        name, equals, value = piece.partition(b"=")
        tag = name.strip(_WHITE_SPACE)
        if not equals or not _NAME.fullmatch(tag):
            raise InvalidTags("not a list of tags")
        if tag in tags:
            raise InvalidTags("a tag occurs twice")
        tags[tag] = value.strip(_WHITE_SPACE)
    return tags


def without_value(text: bytes, tag: bytes) -> bytes:
    """*text*, a tag list as received, with everything after the equals sign of *tag* cut out (RFC 6376 section 3.7)."""
    at = 0
    for piece in text.split(b";"):
        name, equals, _ = piece.partition(b"=")
        if equals and name.strip(_WHITE_SPACE) == tag:
            return text[: at + len(name) + 1] + text[at + len(piece) :]
        at += len(piece) + 1
    return text


def without_white_space(value: bytes) -> bytes:
    """For base64 and lists, in which folding white space has no meaning."""
    return value.translate(None, _WHITE_SPACE)
