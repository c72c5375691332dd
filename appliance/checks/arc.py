"""Validate the ARC chain of a message (RFC 8617 section 5.2)."""

import re
from dataclasses import dataclass
from datetime import datetime

from appliance.checks.answers import Answers
from appliance.checks.canonical import CanonicalMessage, relaxed_field
from appliance.checks.dkim import check_body, check_whole_body, signed_octets
from appliance.checks.options import CheckOptions
from appliance.checks.signature import (
    Coverage,
    Refused,
    Signer,
    check_signature,
    check_times,
    number_in,
    read_coverage,
    read_signer,
)
from appliance.checks.tags import InvalidTags, parse_tags, without_value
from appliance.mail.authentication import ArcResult, ArcSeal, ArcWord
from appliance.mail.results_reader import ReadResult, asserted_passes, read_arc_results, remote_address
from appliance.resolver import Question, TemporaryDnsError

AAR = b"arc-authentication-results"
AMS = b"arc-message-signature"
SEAL = b"arc-seal"
MAX_INSTANCE = 50
ASSUMED_FORMS = b"relaxed/relaxed"  # what sealers that leave c= out have used, whatever DKIM's default is

_INSTANCE = re.compile(rb"0?[1-9]|[1-9][0-9]")
_AAR_START = re.compile(rb"[ \t]*i[ \t]*=[ \t]*(0?[1-9]|[1-9][0-9])[ \t]*;")


class BrokenChain(Exception):
    """The chain fails; the message is ours and short."""


@dataclass(frozen=True, slots=True)
class _MessageSignature:
    place: int
    tags: dict[bytes, bytes]
    signer: Signer
    coverage: Coverage


@dataclass(frozen=True, slots=True)
class _Seal:
    place: int
    signer: Signer
    status: bytes
    """``cv=``"""


@dataclass(frozen=True, slots=True)
class _ArcSet:
    """The three fields of one instance."""

    instance: int
    results_place: int
    signature: _MessageSignature
    seal: _Seal


class ArcCheck:
    """The chain of one message. What needs no key is decided when this is made."""

    def __init__(self, canonical: CanonicalMessage, now: datetime, options: CheckOptions) -> None:
        self._canonical = canonical
        self._now = now
        self._options = options
        self._sets: tuple[_ArcSet, ...] = ()
        self._result: ArcResult | None = None
        try:
            self._sets = _read_sets(canonical, options)
        except BrokenChain as broken:
            self._result = ArcResult(ArcWord.FAIL, reason=str(broken))
        if not self._sets and self._result is None:
            self._result = ArcResult(ArcWord.NONE)

    @property
    def questions(self) -> tuple[Question, ...]:
        """Where the keys are that ``result`` needs."""
        if self._result:
            return ()
        signers = [signer for s in self._sets for signer in (s.signature.signer, s.seal.signer)]
        return tuple(dict.fromkeys(signer.question for signer in signers))

    def result(self, answers: Answers) -> ArcResult:
        """Raises ``Missing``. Every trouble with the DNS breaks the chain (ARC-07)."""
        if self._result is None:
            answers.ask_together(self.questions)
            self._result = self._validate(answers)
        return self._result

    def _validate(self, answers: Answers) -> ArcResult:
        *_, newest = self._sets
        try:
            self._verify_message(newest, answers)
            for arc_set in reversed(self._sets):
                self._verify_seal(arc_set, answers)
        except BrokenChain as broken:
            return ArcResult(ArcWord.FAIL, reason=str(broken))
        oldest_pass = self._oldest_pass(answers)
        seals, first_hop = self._seals()
        return ArcResult(ArcWord.PASS, seals, oldest_pass, first_hop=first_hop)

    def _seals(self) -> tuple[tuple[ArcSeal, ...], str]:
        """The seals, newest first, and the first hop's address; with results as far as sealers are trusted (ARC-09)."""
        seals = []
        trusted, first_hop = True, ""
        for arc_set in reversed(self._sets):
            signer = arc_set.seal.signer
            trusted = trusted and signer.domain in self._options.trusted_sealers
            passes = asserted_passes(self._results(arc_set)) if trusted else ()
            seals.append(ArcSeal(arc_set.instance, signer.domain, signer.selector, passes))
        if any(seal.passes for seal in seals):
            first_hop = remote_address(self._results(self._sets[0]))
        return tuple(seals), first_hop

    def _results(self, arc_set: _ArcSet) -> tuple[ReadResult, ...]:
        return read_arc_results(self._canonical.field(arc_set.results_place).value)

    def _oldest_pass(self, answers: Answers) -> int:
        """The oldest instance from which on the message is unchanged; 0 when that is from the start (section 5.2)."""
        for arc_set in reversed(self._sets[:-1]):
            try:
                self._verify_message(arc_set, answers)
            except BrokenChain:
                return arc_set.instance + 1
        return 0

    def _verify_message(self, arc_set: _ArcSet, answers: Answers) -> None:
        signature = arc_set.signature
        where = f"message signature {arc_set.instance}"
        try:
            check_times(signature.tags, self._now, self._options)
            check_body(self._canonical, signature.coverage)
            check_whole_body(self._canonical, signature.coverage, self._options)
        except Refused as refused:
            raise BrokenChain(f"{where}: {refused}") from None
        signed = signed_octets(self._canonical, signature.place, signature.coverage)
        self._check(signature.signer, signed, answers, where)

    def _verify_seal(self, arc_set: _ArcSet, answers: Answers) -> None:
        """A seal covers every set up to its own, itself last and without its signature (section 5.1.1)."""
        covered = [
            self._canonical.relaxed(place)
            for earlier in self._sets[: arc_set.instance]
            for place in (earlier.results_place, earlier.signature.place, earlier.seal.place)
        ]
        field = self._canonical.field(arc_set.seal.place)
        covered[-1] = relaxed_field(field.name, without_value(field.value, b"b"))
        self._check(arc_set.seal.signer, b"\r\n".join(covered), answers, f"seal {arc_set.instance}")

    def _check(self, signer: Signer, signed: bytes, answers: Answers, where: str) -> None:
        try:
            check_signature(signer, signed, answers, self._options)
        except (Refused, TemporaryDnsError) as trouble:
            raise BrokenChain(f"{where}: {trouble}") from None


def _read_sets(canonical: CanonicalMessage, options: CheckOptions) -> tuple[_ArcSet, ...]:
    """The sets in order, after all that can be checked without keys (section 5.2, steps 1 to 3)."""
    places = {name: canonical.places(name) for name in (AAR, AMS, SEAL)}
    count = max(map(len, places.values()))
    if count > min(options.max_arc_sets, MAX_INSTANCE):
        raise BrokenChain("too many sets")
    if any(len(found) != count for found in places.values()):
        raise BrokenChain("incomplete set")
    results = _by_instance({place: _results_instance(canonical.field(place).value) for place in places[AAR]})
    tags = {place: _tags(canonical.field(place).value) for place in (*places[AMS], *places[SEAL])}
    signatures = _by_instance({place: _instance(tags[place]) for place in places[AMS]})
    seals = _by_instance({place: _instance(tags[place]) for place in places[SEAL]})
    read_seals = [_read_seal(seals[number], tags[seals[number]]) for number in range(1, count + 1)]
    _check_statuses([seal.status for seal in read_seals])
    return tuple(
        _ArcSet(
            number,
            results[number],
            _read_message_signature(signatures[number], tags[signatures[number]]),
            read_seals[number - 1],
        )
        for number in range(1, count + 1)
    )


def _by_instance(instances: dict[int, int]) -> dict[int, int]:
    """Places by instance number; the numbers must run from 1 without gap."""
    found = {instance: place for place, instance in instances.items()}
    if sorted(found) != list(range(1, len(instances) + 1)):
        raise BrokenChain("instances do not run from 1 without gap")
    return found


def _check_statuses(statuses: list[bytes]) -> None:
    """ARC-02 and ARC-03: the first says none, all later ones pass."""
    if statuses and statuses[-1] == b"fail":
        raise BrokenChain("the newest seal says that the chain failed")
    expected = [b"none", *[b"pass"] * (len(statuses) - 1)]
    if statuses and statuses != expected:
        raise BrokenChain("a seal states a wrong chain status")


def _results_instance(value: bytes) -> int:
    found = _AAR_START.match(value.replace(b"\r\n", b""))
    if not found:
        raise BrokenChain("results without instance")
    return int(found[1])


def _tags(value: bytes) -> dict[bytes, bytes]:
    try:
        return parse_tags(value)
    except InvalidTags as invalid:
        raise BrokenChain(str(invalid)) from None


def _instance(tags: dict[bytes, bytes]) -> int:
    value = tags.get(b"i", b"")
    if not _INSTANCE.fullmatch(value):
        raise BrokenChain("set without instance")
    return int(value)


def _read_seal(place: int, tags: dict[bytes, bytes]) -> _Seal:
    if b"h" in tags:
        raise BrokenChain("seal with h=")
    try:
        number_in(tags, b"t")
        return _Seal(place, read_signer(tags), tags.get(b"cv", b""))
    except Refused as refused:
        raise BrokenChain(f"seal: {refused}") from None


def _read_message_signature(place: int, tags: dict[bytes, bytes]) -> _MessageSignature:
    try:
        signer, coverage = read_signer(tags), read_coverage(tags, ASSUMED_FORMS)
    except Refused as refused:
        raise BrokenChain(f"message signature: {refused}") from None
    if SEAL in coverage.names:
        raise BrokenChain("message signature over a seal")
    return _MessageSignature(place, tags, signer, coverage)
