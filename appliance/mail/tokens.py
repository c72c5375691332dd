"""Cut a structured header field into tokens (RFC 5322 section 3.2): strict, in linear time, without recursion."""

import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

MAX_COMMENT_DEPTH = 32  # honest mail nests two deep; other parsers give up somewhere, so we say no early

_CONTROLS = r"\x00-\x08\x0a-\x1f\x7f"
_TOKEN = re.compile(
    r"[ \t]*+(?:"
    r'(?P<atom>[^\x00-\x20\x7f()<>\[\]:;@\\,"]++)'  # dots and everything beyond ASCII included (RFC 6532)
    rf"|(?P<literal>\[[^\[\]\\{_CONTROLS}]*+\])"
    r"|(?P<special>[<>@,;:])"
    r'|(?P<opening>["(])'
    r"|(?P<end>\Z))"
)
_STOP_IN_QUOTED = re.compile(rf'["\\{_CONTROLS}]')
_STOP_IN_COMMENT = re.compile(rf"[()\\{_CONTROLS}]")
_ESCAPABLE = re.compile(rf"[^{_CONTROLS}]")
_BLANK_LINE = re.compile(rb"\r\n[ \t]++\r\n")
_FOLD = re.compile(r"\r\n(?=[ \t])")
_QUOTED_PAIR = re.compile(r"\\(.)")


class Kind(Enum):
    ATOM = auto()
    """A run of atom characters and dots."""
    QUOTED = auto()
    LITERAL = auto()
    """In square brackets."""
    SPECIAL = auto()
    """One of ``<>@,;:``."""
    COMMENT = auto()


class Token(NamedTuple):
    kind: Kind
    text: str
    """Without the quotation marks, brackets or outer parentheses; quoted pairs resolved in quoted strings only."""

    def is_special(self, character: str) -> bool:
        return self.kind is Kind.SPECIAL and self.text == character


class NotStructured(ValueError):
    """The rest of the field is no sequence of tokens; the message says why, in our words."""


def tokens(value: bytes) -> Iterator[Token]:
    """The tokens of a field's *value*, comments included, white space left out.

    Octets that are not UTF-8 come as surrogate escapes. Raises ``NotStructured`` when the bad place is reached:
    what stands before it has been yielded by then. Nothing obsolete is understood.
    """
    if _BLANK_LINE.search(value):
        raise NotStructured("a folded line is blank")
    text = _FOLD.sub("", value.decode("utf-8", "surrogateescape"))
    at = 0
    while True:
        found = _TOKEN.match(text, at)
        if not found:
            raise NotStructured("a character stands where it may not")
        at = found.end()
        match found.lastgroup:
            case "atom":
                yield Token(Kind.ATOM, found["atom"])
            case "special":
                yield Token(Kind.SPECIAL, found["special"])
            case "literal":
                yield Token(Kind.LITERAL, found["literal"][1:-1])
            case "end":
                return
            case _ if found["opening"] == "(":
                end = _end_of_comment(text, at)
                yield Token(Kind.COMMENT, text[at : end - 1])
                at = end
            case _:
                end = _end_of_quoted(text, at)
                yield Token(Kind.QUOTED, _QUOTED_PAIR.sub(r"\1", text[at : end - 1]))
                at = end


def _end_of_quoted(text: str, at: int) -> int:
    """The place after the closing quotation mark."""
    while found := _STOP_IN_QUOTED.search(text, at):
        match found.group():
            case '"':
                return found.end()
            case "\\":
                at = _after_quoted_pair(text, found.end())
            case _:
                raise NotStructured("a control character in a quoted string")
    raise NotStructured("a quotation mark without its counterpart")


def _end_of_comment(text: str, at: int) -> int:
    """The place after the parenthesis that closes the one before *at*."""
    depth = 1
    while found := _STOP_IN_COMMENT.search(text, at):
        at = found.end()
        match found.group():
            case "(":
                depth += 1
                if depth > MAX_COMMENT_DEPTH:
                    raise NotStructured("comments are nested too deeply")
            case ")":
                depth -= 1
                if not depth:
                    return at
            case "\\":
                at = _after_quoted_pair(text, at)
            case _:
                raise NotStructured("a control character in a comment")
    raise NotStructured("a parenthesis without its counterpart")


def _after_quoted_pair(text: str, at: int) -> int:
    if not _ESCAPABLE.match(text, at):
        raise NotStructured("a backslash before nothing or a control character")
    return at + 1
