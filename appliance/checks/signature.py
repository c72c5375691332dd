"""What DKIM-Signature, ARC-Message-Signature and ARC-Seal have in common: their tags and the check against a key."""

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from appliance.checks.answers import Answers
from appliance.checks.canonical import Canonicalization
from appliance.checks.keys import KeyRecord, UnusableKey, likely_keys, usable_key
from appliance.checks.options import CheckOptions
from appliance.checks.tags import without_white_space
from appliance.mail.authentication import DkimWord
from appliance.mail.domain import MAX_NAME_OCTETS, InvalidDomain, to_a_label
from appliance.resolver import Question, RecordType

KEY_TYPES = {b"rsa-sha256": "rsa", b"ed25519-sha256": "ed25519"}
SHOWN_SIGNATURE_CHARACTERS = 8  # RFC 6008

_NUMBER = re.compile(rb"[0-9]{1,20}")
_FORMS = {b"simple": Canonicalization.SIMPLE, b"relaxed": Canonicalization.RELAXED}

Tags = Mapping[bytes, bytes]


class Refused(Exception):
    """A signature that doesn't count: *word* and *reason* go into the result; *testing*: its key says ``t=y``."""

    def __init__(self, word: DkimWord, reason: str, *, testing: bool = False) -> None:
        self.word = word
        self.reason = reason
        self.testing = testing
        super().__init__(reason)


def permerror(reason: str) -> Refused:
    return Refused(DkimWord.PERMERROR, reason)


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signed, with which kind of key."""

    domain: str
    selector: str
    key_type: str
    signature: bytes

    @property
    def question(self) -> Question:
        """Where the key is published."""
        return Question(f"{self.selector}._domainkey.{self.domain}", RecordType.TXT)


@dataclass(frozen=True, slots=True)
class Coverage:
    """What of the message a signature covers, and how."""

    body_hash: bytes
    header_form: Canonicalization
    body_form: Canonicalization
    names: tuple[bytes, ...]
    """``h=``, lower-case; an empty name where nothing stands between two colons, it selects no field."""
    length: int | None
    """``l=``"""


def read_signer(tags: Tags) -> Signer:
    """Raises ``Refused`` when a tag is missing or wrong, or the algorithm is not accepted (DKIM-02, -05, -18)."""
    for name in (b"a", b"b", b"d", b"s"):
        if name not in tags:
            raise permerror(f"no {name.decode()} tag")
    algorithm = tags[b"a"]
    if algorithm == b"rsa-sha1":
        raise permerror("rsa-sha1")  # RFC 8301 section 3.1
    if algorithm not in KEY_TYPES:
        raise permerror("unknown algorithm")
    domain, selector = name_in(tags, b"d"), name_in(tags, b"s")
    if not domain or not selector or len(f"{selector}._domainkey.{domain}") > MAX_NAME_OCTETS:
        raise permerror("d= or s= is no domain name")
    return Signer(domain, selector, KEY_TYPES[algorithm], _base64(tags, b"b"))


def read_coverage(tags: Tags, default_forms: bytes = b"simple/simple") -> Coverage:
    """*default_forms* stands in for a missing ``c=``. Raises ``Refused``."""
    for name in (b"bh", b"h"):
        if name not in tags:
            raise permerror(f"no {name.decode()} tag")
    if b"dns/txt" not in without_white_space(tags.get(b"q", b"dns/txt")).split(b":"):
        raise permerror("q= names no known way to the key")
    header_form, _, body_form = tags.get(b"c", default_forms).partition(b"/")
    try:
        forms = _FORMS[header_form], _FORMS[body_form or b"simple"]
    except KeyError:
        raise permerror("unknown canonicalization") from None
    names = tuple(without_white_space(tags[b"h"]).lower().split(b":"))
    length = number_in(tags, b"l")
    return Coverage(_base64(tags, b"bh"), forms[0], forms[1], names, length)


def check_times(tags: Tags, now: datetime, options: CheckOptions) -> None:
    """``t=`` and ``x=`` (DKIM-08); raises ``Refused``."""
    signed_at, expires_at = number_in(tags, b"t"), number_in(tags, b"x")
    seconds = now.timestamp()
    if signed_at is not None and expires_at is not None and expires_at <= signed_at:
        raise permerror("expires before it was made")
    if signed_at is not None and signed_at > seconds + options.clock_skew_seconds:
        raise Refused(DkimWord.FAIL, "made in the future")
    if expires_at is not None and expires_at < seconds - options.clock_skew_seconds:
        raise Refused(DkimWord.FAIL, "expired")


def check_signature(signer: Signer, signed: bytes, answers: Answers, options: CheckOptions) -> KeyRecord:
    """Verify against the signer's key or keys and return the one that fits.

    Raises ``Refused``, or ``Missing`` and ``TemporaryDnsError`` while the key is not known.
    """
    problem, tried = "no key", []
    for record in likely_keys(answers.records(signer.question.name, RecordType.TXT)):
        try:
            key = usable_key(record, signer.key_type, options)
        except UnusableKey as unusable:
            problem = str(unusable)
            continue
        if key.verifies(signer.signature, signed):
            return key
        tried.append(key)
    if not tried:
        raise permerror(problem)
    raise Refused(DkimWord.FAIL, "signature", testing=all(key.testing for key in tried))


def name_in(tags: Tags, tag: bytes) -> str:
    """A domain name or selector as A-labels; ``""`` when the tag is absent or holds none. No dot may end it (A3)."""
    value = tags.get(tag, b"")
    if value.endswith(b"."):
        return ""
    try:
        return to_a_label(value.decode("utf-8"))
    except (InvalidDomain, UnicodeDecodeError):
        return ""


def _base64(tags: Tags, tag: bytes) -> bytes:
    text = without_white_space(tags[tag])
    try:
        octets = a2b_base64(text, strict_mode=True) if len(text) % 4 == 0 else b""
    except (Base64Error, ValueError):
        octets = b""
    if not octets:
        raise permerror(f"{tag.decode()}= is not base64")
    return octets


def number_in(tags: Tags, tag: bytes) -> int | None:
    """``None`` when the tag is absent; raises ``Refused`` when it holds no number."""
    value = tags.get(tag)
    if value is None:
        return None
    if not _NUMBER.fullmatch(value):
        raise permerror(f"{tag.decode()}= is no number")
    return int(value)
