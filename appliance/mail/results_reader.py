"""Read other systems' authentication results (RFC 8601), as trusted ARC sealers hand them on (RFC 8617 section 4.1.1).

Nothing that is read here counts unless a seal of somebody trusted covers it: see ``appliance.policy``.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from appliance.mail.authentication import AssertedPass, Method
from appliance.mail.domain import InvalidDomain, to_a_label
from appliance.mail.tokens import Kind, NotStructured, Token, tokens

MAX_OCTETS = 65_536  # honest fields have a few hundred
MAX_TOKENS = 2_000
MAX_RESULTS = 100

_INSTANCE = re.compile(r"i=[0-9]{1,2}", re.ASCII)
_KEYWORD = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?", re.ASCII)
_ADDRESS = re.compile(r"[0-9a-f:.]{2,45}", re.ASCII)
_OPERANDS = frozenset({Kind.ATOM, Kind.QUOTED, Kind.LITERAL})
_DOMAIN_OF = {Method.SPF: "smtp.mailfrom", Method.DKIM: "header.d", Method.DMARC: "header.from"}
"""The property that holds what a mechanism authenticated. HELO never counts (RFC 9989 section 4.4.2)."""


@dataclass(frozen=True, slots=True)
class ReadResult:
    """One method's result; keywords in lower case, values as they stand, without quotation marks."""

    method: str
    result: str
    properties: Mapping[str, str]
    """By name: ``smtp.mailfrom``, ``header.d`` …"""


def read_arc_results(value: bytes) -> tuple[ReadResult, ...]:
    """The results in an ARC-Authentication-Results field; none when the field can't be read beyond doubt.

    A result in a form that nobody should write is left out, as are methods and properties nobody knows
    (RFC 8601 section 4.1); but when that hides what DMARC found, nothing is read.
    """
    if len(value) > MAX_OCTETS:
        return ()
    try:
        instance, *rest = _segments(value)
    except NotStructured:
        return ()
    if not _INSTANCE.fullmatch("".join(token.text for token in instance)) or not rest:
        return ()
    if not _names_a_system(rest[0]) or len(rest) > MAX_RESULTS:
        return ()
    found = []
    for segment in rest[1:]:
        result = _result(segment)
        if result is not None:
            found.append(result)
        elif segment and segment[0].text.lower().startswith(Method.DMARC):
            return ()
    return tuple(found)


def asserted_passes(results: Sequence[ReadResult]) -> tuple[AssertedPass, ...]:
    """What *results* say passed, and for whom. Whoever says that DMARC failed vouches for nothing."""
    if any((result.method, result.result) == (Method.DMARC, "fail") for result in results):
        return ()
    passes = [
        AssertedPass(method, domain)
        for result in results
        for method in Method
        if (result.method, result.result) == (method, "pass")
        and (domain := _domain(result.properties.get(_DOMAIN_OF[method], "")))
    ]
    return tuple(dict.fromkeys(passes))


def remote_address(results: Sequence[ReadResult]) -> str:
    """The client's address that *results* name, in its usual form; ``""`` without one."""
    for result in results:
        text = result.properties.get("smtp.remote-ip", "").lower()
        if _ADDRESS.fullmatch(text):
            try:
                return str(ip_address(text))
            except ValueError:
                continue
    return ""


def _segments(value: bytes) -> list[list[Token]]:
    """The field's tokens between semicolons, comments left out."""
    segments: list[list[Token]] = [[]]
    for count, token in enumerate(tokens(value)):
        if count == MAX_TOKENS:
            raise NotStructured("too many tokens")
        if token.is_special(";"):
            segments.append([])
        elif token.kind is not Kind.COMMENT:
            segments[-1].append(token)
    return segments


def _names_a_system(segment: list[Token]) -> bool:
    """Whether *segment* is an authserv-id, with version 1 if any."""
    kinds = {token.kind for token in segment}
    return (
        0 < len(segment) <= 2
        and kinds <= {Kind.ATOM, Kind.QUOTED}
        and [token.text for token in segment[1:]] in ([], ["1"])
    )


def _result(segment: list[Token]) -> ReadResult | None:
    """``None`` for what is no result, ``none`` alone included."""
    pairs = _pairs(segment)
    if not pairs:
        return None
    (method, result), *properties = pairs
    name, _, version = method.partition("/")
    named = dict(properties)
    if len(named) != len(properties) or version not in {"", "1"}:
        return None
    return ReadResult(name, result.lower(), named)


def _pairs(segment: list[Token]) -> list[tuple[str, str]] | None:
    """*segment* as pairs of keyword and value; ``None`` when it isn't a sequence of those.

    The tokens don't tell where white space stood. A keyword is looked for only after a whole value, so text that
    belongs to a value is never taken for another property.
    """
    pairs = []
    rest = segment[::-1]
    while rest:
        name, value = _keyword(rest)
        if not _KEYWORD.fullmatch(name.partition("/")[0]):
            return None
        if not value and _next_is(rest, {Kind.ATOM, Kind.QUOTED}):
            value = rest.pop().text
        while _next_is(rest, {Kind.SPECIAL}):
            joint = rest.pop().text
            if joint not in {"@", ":"}:
                return None
            value += joint
            if _next_is(rest, _OPERANDS):
                value += _written(rest.pop())
        pairs.append((name, value))
    return pairs


def _keyword(rest: list[Token]) -> tuple[str, str]:
    """Takes a keyword and its equals sign off the end of *rest*: the keyword, and what of its value follows at once."""
    token = rest.pop()
    name, equals, value = token.text.partition("=")
    if not equals and _next_is(rest, {Kind.ATOM}) and rest[-1].text.startswith("="):
        equals, value = "=", rest.pop().text[1:]
    return (name.lower(), value) if equals and token.kind is Kind.ATOM else ("", "")


def _next_is(rest: list[Token], kinds: Collection[Kind]) -> bool:
    return bool(rest) and rest[-1].kind in kinds


def _written(token: Token) -> str:
    return f"[{token.text}]" if token.kind is Kind.LITERAL else token.text


def _domain(text: str) -> str:
    """The domain of an address or a domain as A-labels; ``""`` when it is none."""
    try:
        return to_a_label(text.rpartition("@")[2])
    except InvalidDomain:
        return ""
