"""Parse a DMARC Policy Record (RFC 9989 section 4.7 and 4.8)."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Self

MAX_RECORD_OCTETS = 4096  # no honest record comes near it; bounds the work of every parse (DISC-15)
MAX_URIS = 50  # looked at in one rua or ruf tag (DISC-15)

_VERSION = re.compile(rb"v[ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)", re.IGNORECASE)
_TAG_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9_]*")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s,!]+")
_SIZE_LIMIT = re.compile(r"![0-9]+[kmgtKMGT]?$")


class Policy(StrEnum):
    """Domain Owner Assessment Policy, mildest first."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"

    @property
    def one_step_down(self) -> "Policy":
        """What ``t=y`` makes of it (RFC 9989 section 4.7)."""
        return Policy.QUARANTINE if self is Policy.REJECT else Policy.NONE

    @property
    def severity(self) -> int:
        return tuple(Policy).index(self)


class AlignmentMode(StrEnum):
    RELAXED = "r"
    STRICT = "s"


class Psd(StrEnum):
    """Whether the record's domain is a Public Suffix Domain: yes, no, or decided by the walk."""

    YES = "y"
    NO = "n"
    UNKNOWN = "u"


@dataclass(frozen=True, slots=True)
class DmarcRecord:
    """A published record, parsed. ``None`` for *p*, *sp* and *np* means absent or invalid."""

    text: str
    """As published, for people to read: what isn't printable ASCII shows as U+FFFD."""
    p: Policy | None = None
    sp: Policy | None = None
    np: Policy | None = None
    adkim: AlignmentMode = AlignmentMode.RELAXED
    aspf: AlignmentMode = AlignmentMode.RELAXED
    fo: str = "0"
    rua: tuple[str, ...] = ()
    """URIs as published, without size limits; every scheme. Their destinations are not yet checked."""
    ruf: tuple[str, ...] = ()
    testing: bool = False
    psd: Psd = Psd.UNKNOWN
    misstates_policy: bool = False
    """No valid ``p``, or an invalid ``sp`` or ``np`` (RFC 9989 section 4.10.1)."""
    problems: tuple[str, ...] = ()
    """What is wrong with it, for the domain's owner; empty for a clean record."""

    def as_applied(self) -> Self | None:
        """The record to act on: itself, ``p=none`` in place of a misstated policy, or ``None`` (section 4.10.1)."""
        if not self.misstates_policy:
            return self
        if not self.rua:
            return None
        return replace(self, p=Policy.NONE, sp=None, np=None)


def select_record(texts: Iterable[bytes]) -> DmarcRecord | None:
    """The one DMARC record among a name's TXT records, each with its character-strings joined.

    Texts that are no DMARC record don't count; of several that are, none counts (RFC 9989 section 4.10).
    """
    found = [text for text in texts if is_dmarc_record(text)]
    return parse_record(found[0]) if len(found) == 1 else None


def is_dmarc_record(text: bytes) -> bool:
    """Whether *text* starts with the version tag; the tag's name may be in any case, its value may not."""
    if len(text) > MAX_RECORD_OCTETS or not (found := _VERSION.match(text)):
        return False
    return b"DMARC1" in found.group()


@lru_cache(maxsize=4096)
def parse_record(text: bytes) -> DmarcRecord | None:
    """Parse one TXT record that ``is_dmarc_record``; ``None`` when a tag is repeated (RFC 6376 section 3.2)."""
    shown = "".join(chr(octet) if 0x20 <= octet <= 0x7E else "\ufffd" for octet in text)
    problems: list[str] = []
    tags = _split_tags(text, problems)
    if tags is None:
        return None
    p, sp, np = (_policy(tags, name, problems) for name in ("p", "sp", "np"))
    if "p" not in tags:
        problems.append("no p tag")
    misstated = p is None or (sp is None and "sp" in tags) or (np is None and "np" in tags)
    rua, ruf = _uris(tags.get("rua", ""), "rua", problems), _uris(tags.get("ruf", ""), "ruf", problems)
    return DmarcRecord(
        text=shown,
        p=p,
        sp=sp,
        np=np,
        adkim=AlignmentMode(_keyword(tags, "adkim", ("r", "s"), problems)),
        aspf=AlignmentMode(_keyword(tags, "aspf", ("r", "s"), problems)),
        fo=_failure_options(tags, problems) if "ruf" in tags else "0",
        rua=rua,
        ruf=ruf,
        testing=_keyword(tags, "t", ("n", "y"), problems) == "y",
        psd=Psd(_keyword(tags, "psd", ("u", "y", "n"), problems)),
        misstates_policy=misstated,
        problems=tuple(problems),
    )


def _split_tags(text: bytes, problems: list[str]) -> dict[str, str] | None:
    """Tag names (lower-case) to values; values that hold other than printable ASCII become empty."""
    tags: dict[str, str] = {}
    for piece in text.split(b";"):
        name, equals, value = piece.partition(b"=")
        if not equals:
            continue  # nothing between two semicolons, or a word without a value
        if not _TAG_NAME.fullmatch(name.strip(b" \t")):
            problems.append("something that is no tag stands before an equals sign")
            continue
        tag = name.strip(b" \t").decode("ascii").lower()
        if tag in tags:
            return None
        stripped = value.strip(b" \t")
        if any(not 0x20 <= octet <= 0x7E for octet in stripped):
            problems.append(f"the {tag[:20]} tag holds characters outside printable ASCII")
            stripped = b""
        tags[tag] = stripped.decode("ascii")
    return tags


def _policy(tags: Mapping[str, str], name: str, problems: list[str]) -> Policy | None:
    if name not in tags:
        return None
    try:
        return Policy(tags[name].lower())
    except ValueError:
        problems.append(f"the {name} tag is not none, quarantine or reject")
        return None


def _keyword(tags: Mapping[str, str], name: str, allowed: tuple[str, ...], problems: list[str]) -> str:
    """A tag's value when it is among *allowed*, else the first of them: the default."""
    value = tags.get(name, allowed[0]).lower()
    if value in allowed:
        return value
    problems.append(f"the {name} tag is not one of {', '.join(allowed)}")
    return allowed[0]


def _failure_options(tags: Mapping[str, str], problems: list[str]) -> str:
    """``fo`` as published (lower-case, no spaces), or its default: 0 and 1 exclude each other, nothing twice."""
    options = [option.strip(" \t") for option in tags.get("fo", "0").lower().split(":")]
    known = all(option in {"0", "1", "d", "s"} for option in options)
    if known and len(set(options)) == len(options) and not {"0", "1"} <= set(options):
        return ":".join(options)
    problems.append("the fo tag is not valid")
    return "0"


def _uris(value: str, name: str, problems: list[str]) -> tuple[str, ...]:
    found = []
    pieces = value.split(",") if value else []
    if len(pieces) > MAX_URIS:
        problems.append(f"the {name} tag lists more than {MAX_URIS} addresses; the rest is ignored")
    for piece in pieces[:MAX_URIS]:
        uri = _SIZE_LIMIT.sub("", piece.strip(" \t"))
        if _URI.fullmatch(uri):
            found.append(uri)
        else:
            problems.append(f"the {name} tag holds something that is no URI (mailto:address is one)")
    return tuple(found)
