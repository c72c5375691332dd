"""Verify the DKIM signatures of a message (RFC 6376, RFC 8301, RFC 8463, RFC 8616)."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from appliance.checks.answers import Answers
from appliance.checks.canonical import CanonicalMessage, canonical_field
from appliance.checks.keys import KeyRecord
from appliance.checks.options import CheckOptions
from appliance.checks.signature import (
    SHOWN_SIGNATURE_CHARACTERS,
    Coverage,
    Refused,
    Signer,
    Tags,
    check_signature,
    check_times,
    name_in,
    permerror,
    read_coverage,
    read_signer,
)
from appliance.checks.tags import InvalidTags, parse_tags, without_value, without_white_space
from appliance.mail.authentication import DkimResult, DkimWord
from appliance.mail.domain import InvalidDomain, is_below, to_a_label
from appliance.resolver import Question, TemporaryDnsError

SINGLE_INSTANCE_FIELDS = frozenset(
    b"subject to cc date message-id reply-to sender content-type content-transfer-encoding".split()
)
"""RFC 5322 and RFC 2045 allow one of each, readers show any; From is the author check's business (DKIM-11)."""

_SHOWN_ALGORITHMS = {b"rsa-sha256", b"ed25519-sha256", b"rsa-sha1"}
_SAFE_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]*", re.ASCII)
_SAFE_SIGNATURE = re.compile(rb"[A-Za-z0-9+/=]*")


@dataclass(slots=True)
class _Candidate:
    """One DKIM-Signature field on its way to a result."""

    place: int
    result: DkimResult
    tags: Tags
    done: bool = False
    signer: Signer | None = None
    coverage: Coverage | None = None

    def settle(self, word: DkimWord, reason: str = "") -> None:
        self.result = replace(self.result, result=word, reason=reason)
        self.done = True


class DkimCheck:
    """The signatures of one message. What needs no key is decided when this is made."""

    def __init__(
        self, canonical: CanonicalMessage, author_domains: Sequence[str], now: datetime, options: CheckOptions
    ) -> None:
        """*author_domains* say which signatures are verified first when there are too many."""
        self._canonical = canonical
        self._options = options
        places = canonical.places(b"dkim-signature")[: options.max_read_signatures]
        candidates = [_identify(place, canonical.field(place).value) for place in places]
        # Sorting keeps the order of what is equally near.
        candidates.sort(key=lambda c: (c.done, _distance(c.result.domain, author_domains)))
        readable = [candidate for candidate in candidates if not candidate.done]
        for candidate in readable[options.max_signatures :]:
            candidate.settle(DkimWord.POLICY, "limit")
        for candidate in readable[: options.max_signatures]:
            self._settle_if_refused(candidate, now)
        self._candidates = sorted(candidates[: options.max_listed_signatures], key=lambda c: c.place)

    @property
    def questions(self) -> tuple[Question, ...]:
        """Where the keys are that ``results`` needs."""
        return tuple(
            candidate.signer.question
            for candidate in self._candidates
            if candidate.signer and not candidate.done
        )

    def results(self, answers: Answers) -> tuple[DkimResult, ...]:
        """One result a signature, top to bottom; raises ``Missing``."""
        answers.ask_together(self.questions)
        for candidate in self._candidates:
            if not candidate.done:
                self._verify(candidate, answers)
        return tuple(candidate.result for candidate in self._candidates)

    def _settle_if_refused(self, candidate: _Candidate, now: datetime) -> None:
        try:
            self._read(candidate, now)
        except Refused as refused:
            candidate.settle(refused.word, refused.reason)

    def _read(self, candidate: _Candidate, now: datetime) -> None:
        tags = candidate.tags
        if tags.get(b"v") != b"1":
            raise permerror("no v=1")
        signer, coverage = read_signer(tags), read_coverage(tags)
        if b"" in coverage.names:
            raise permerror("h= is no list of field names")
        if b"from" not in coverage.names:
            raise permerror("From is not signed")
        _check_identity(tags, signer)
        check_times(tags, now, self._options)
        if "." not in signer.domain:
            raise Refused(DkimWord.POLICY, "d= is a top-level domain")
        check_body(self._canonical, coverage)
        candidate.signer, candidate.coverage = signer, coverage

    def _verify(self, candidate: _Candidate, answers: Answers) -> None:
        assert candidate.signer
        assert candidate.coverage
        try:
            key = check_signature(
                candidate.signer,
                signed_octets(self._canonical, candidate.place, candidate.coverage),
                answers,
                self._options,
            )
            candidate.result = replace(candidate.result, testing=key.testing)
            self._check_policy(candidate.tags, candidate.signer, candidate.coverage, key)
        except Refused as refused:
            candidate.settle(refused.word, refused.reason)
            candidate.result = replace(candidate.result, testing=candidate.result.testing or refused.testing)
        except TemporaryDnsError as trouble:
            candidate.settle(DkimWord.TEMPERROR, f"key: {trouble}")
        else:
            candidate.settle(DkimWord.PASS)

    def _check_policy(self, tags: Tags, signer: Signer, coverage: Coverage, key: KeyRecord) -> None:
        """What a signature that verifies is still refused for."""
        if key.exact_identity and b"i" in tags and _identity_domain(tags[b"i"]) != signer.domain:
            raise permerror("i= is not the exact domain")
        check_whole_body(self._canonical, coverage, self._options)
        if self._options.refuse_unsigned_duplicates and _leaves_duplicates(self._canonical, coverage.names):
            raise Refused(DkimWord.POLICY, "unsigned duplicate field")


def signed_octets(canonical: CanonicalMessage, place: int, coverage: Coverage) -> bytes:
    """What the signature in the field at *place* is computed over (RFC 6376 section 3.7)."""
    field = canonical.field(place)
    own = canonical_field(coverage.header_form, field.name, without_value(field.value, b"b"))
    return canonical.signed_fields(coverage.header_form, coverage.names, place) + own


def check_body(canonical: CanonicalMessage, coverage: Coverage) -> None:
    if coverage.length is not None and coverage.length > canonical.body_octets(coverage.body_form):
        raise permerror("l= is longer than the body")
    if canonical.body_hash(coverage.body_form, coverage.length) != coverage.body_hash:
        raise Refused(DkimWord.FAIL, "body hash")


def check_whole_body(canonical: CanonicalMessage, coverage: Coverage, options: CheckOptions) -> None:
    """What stands behind ``l=`` is anybody's (DKIM-09); raises ``Refused``."""
    if coverage.length is None or options.accept_partial_body:
        return
    if coverage.length < canonical.body_octets(coverage.body_form):
        raise Refused(DkimWord.POLICY, "covers part of the body")


def _identify(place: int, value: bytes) -> _Candidate:
    """What can be told of a signature before it is judged, so that also a bad one is listed with its names."""
    try:
        tags = parse_tags(value)
    except InvalidTags as invalid:
        result = DkimResult(DkimWord.NEUTRAL, reason=str(invalid))
        return _Candidate(place, result, {}, done=True)
    algorithm = tags.get(b"a", b"")
    start = without_white_space(tags.get(b"b", b""))[:SHOWN_SIGNATURE_CHARACTERS]
    result = DkimResult(
        DkimWord.NEUTRAL,
        domain=name_in(tags, b"d"),
        selector=name_in(tags, b"s"),
        identity=_shown_identity(tags.get(b"i", b"")),
        algorithm=algorithm.decode() if algorithm in _SHOWN_ALGORITHMS else "",
        signature_start=start.decode() if _SAFE_SIGNATURE.fullmatch(start) else "",
    )
    return _Candidate(place, result, tags)


def _check_identity(tags: Tags, signer: Signer) -> None:
    """The domain of ``i=`` is ``d=`` or below it (DKIM-07)."""
    if b"i" not in tags:
        return
    domain = _identity_domain(tags[b"i"])
    if domain != signer.domain and not is_below(domain, signer.domain):
        raise permerror("i= is not below d=")


def _identity_domain(identity: bytes) -> str:
    _, at, domain = identity.rpartition(b"@")
    if not at:
        return ""
    try:
        return to_a_label(domain.decode("utf-8"))
    except (InvalidDomain, UnicodeDecodeError):
        return ""


def _shown_identity(identity: bytes) -> str:
    """``i=`` when it is safe to write into header fields and reports."""
    domain = _identity_domain(identity)
    local_part = identity.rpartition(b"@")[0].decode("ascii", "replace")
    return f"{local_part}@{domain}" if domain and _SAFE_LOCAL_PART.fullmatch(local_part) else ""


def _leaves_duplicates(canonical: CanonicalMessage, names: Iterable[bytes]) -> bool:
    """Whether a single-instance field is there more than once, and more often than it is signed."""
    signed = Counter(name for name in names if name in SINGLE_INSTANCE_FIELDS)
    return any(len(canonical.places(name)) > max(1, signed[name]) for name in SINGLE_INSTANCE_FIELDS)


def _distance(domain: str, author_domains: Sequence[str]) -> int:
    """How far from an Author Domain: 0 the same, 1 above or below it, 2 a common parent, 3 anything else."""
    return min((_distance_to(domain, author) for author in author_domains), default=3)


def _distance_to(domain: str, author: str) -> int:
    if domain == author:
        return 0
    if is_below(domain, author) or is_below(author, domain):
        return 1
    return 2 if domain.split(".")[-2:] == author.split(".")[-2:] else 3
