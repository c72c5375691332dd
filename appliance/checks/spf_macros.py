"""SPF macros: their syntax, and what they stand for (RFC 7208 section 7)."""

import re
from collections.abc import Callable
from urllib.parse import quote

MAX_NAME_OCTETS = 253  # a longer expansion loses its left labels (section 7.3)
_OF_TERMS = "slodiphv"
_OF_EXPLANATIONS = "crt"
_LONGEST_COUNT = 3  # digits; no name has a thousand labels

_TRANSFORMED = r"(?:0*[1-9][0-9]*)?r?[.+,/_=-]*"  # a count of labels is never 0
_IN_TERMS = re.compile(rf"(?:[!-$&-~]|%[%_-]|%\{{[{_OF_TERMS}]{_TRANSFORMED}\}})*", re.ASCII | re.IGNORECASE)
_IN_EXPLANATIONS = re.compile(
    rf"(?:[ -$&-~]|%[%_-]|%\{{[{_OF_TERMS}{_OF_EXPLANATIONS}]{_TRANSFORMED}\}})*", re.ASCII | re.IGNORECASE
)
_MACRO = re.compile(r"%(?:[%_-]|\{([a-zA-Z])([0-9]*)([rR]?)([.+,/_=-]*)\})")
_LITERALS = {"%%": "%", "%_": " ", "%-": "%20"}
_TOP_LABEL = re.compile(r"[0-9a-z]*[a-z][0-9a-z]*|[0-9a-z]+-[0-9a-z-]*[0-9a-z]", re.ASCII | re.IGNORECASE)
_MAX_LABEL_OCTETS = 63


def is_macro_string(text: str) -> bool:
    """Whether *text* may be the value of a modifier."""
    return _IN_TERMS.fullmatch(text) is not None


def is_explanation(text: str) -> bool:
    """Whether *text*, found at the name of ``exp=``, may be used: printable ASCII, macros without mistakes."""
    return _IN_EXPLANATIONS.fullmatch(text) is not None


def is_domain_spec(text: str) -> bool:
    """Whether *text* may name a domain: a macro string that ends in a macro or in a top-level label."""
    if not is_macro_string(text):
        return False
    end = 0
    for macro in _MACRO.finditer(text):
        end = macro.end()
    if end and end == len(text):
        return True
    _, dot, label = text[end:].removesuffix(".").rpartition(".")
    # The length goes first: the pattern's time grows with its square.
    return bool(dot) and len(label) <= _MAX_LABEL_OCTETS and _TOP_LABEL.fullmatch(label) is not None


def expand(text: str, parts_of: Callable[[str, str], list[str]]) -> str:
    """*text* with its macros replaced. *parts_of* gives a letter's value, split at any of the delimiters."""
    if "%" not in text:
        return text
    return _MACRO.sub(lambda macro: _expanded(macro, parts_of), text)


def expand_name(spec: str, parts_of: Callable[[str, str], list[str]]) -> str:
    """The domain name that *spec* stands for: without final dot, its left labels dropped while it is too long.

    Goes from right to left, and only as far as the result reaches: a record of nothing but macros costs no more.
    """
    if "%" not in spec:
        return _shortened(spec)
    if spec == "%{d}":
        return ".".join(parts_of("d", "."))
    name = ""
    end = len(spec)
    for macro in reversed(tuple(_MACRO.finditer(spec))):
        name = _expanded(macro, parts_of) + spec[macro.end() : end] + name
        end = macro.start()
        if len(name) > MAX_NAME_OCTETS + 1:
            return _shortened(name)
    return _shortened(spec[:end] + name)


def _shortened(name: str) -> str:
    name = name.removesuffix(".")
    excess = len(name) - MAX_NAME_OCTETS
    if excess <= 0:
        return name
    return name[name.find(".", excess - 1) + 1 :] if "." in name[excess - 1 :] else ""


def _expanded(macro: re.Match[str], parts_of: Callable[[str, str], list[str]]) -> str:
    letter, count, reverse, delimiters = macro.groups()
    if letter is None:
        return _LITERALS[macro[0]]
    parts = parts_of(letter.lower(), delimiters or ".")
    if reverse:
        parts = parts[::-1]
    count = count.lstrip("0")
    if count and len(count) <= _LONGEST_COUNT:
        parts = parts[-int(count) :]
    text = ".".join(parts)
    return quote(text, safe="~", errors="replace") if letter.isupper() else text
