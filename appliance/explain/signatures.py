"""DKIM signatures and ARC sets as they stand in a message, and why each counts or doesn't (RFC 6376, RFC 8617)."""

from collections.abc import Mapping
from itertools import zip_longest

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from appliance.checks.canonical import CanonicalMessage
from appliance.checks.keys import UnusableKey, likely_keys, usable_key
from appliance.checks.options import CheckOptions
from appliance.checks.signature import Coverage, Refused, read_coverage
from appliance.checks.tags import InvalidTags, parse_tags
from appliance.explain import reasons
from appliance.explain.model import Arc, ArcSet, Signature
from appliance.explain.visible import visible
from appliance.explain.walk import NOT_RECORDED, Answers
from appliance.mail.authentication import ArcResult, ArcWord, DkimResult
from appliance.mail.message import Message
from appliance.resolver import Question, RecordType, Status

MAX_SHOWN_FIELDS = 40
MAX_SHOWN_SETS = 50

Tags = Mapping[bytes, bytes]


def key_name(result: DkimResult) -> str:
    """Where the signer's key is published; ``""`` when the signature doesn't say."""
    return f"{result.selector}._domainkey.{result.domain}" if result.selector and result.domain else ""


def key_question(result: DkimResult) -> Question:
    return Question(key_name(result), RecordType.TXT)


def tell_signatures(
    results: tuple[DkimResult, ...], message: Message | None, answers: Answers, options: CheckOptions
) -> tuple[Signature, ...]:
    """One for each of *results*; without the *message* only what the result itself says."""
    canonical = CanonicalMessage(message) if message else None
    places = canonical.places(b"dkim-signature") if canonical else []
    told = []
    for number, (result, place) in enumerate(zip_longest(results, places[: len(results)]), start=1):
        tags = _tags(canonical, place)
        told.append(_signature(number, result, tags, canonical, answers, options))
    return tuple(told)


def tell_arc(result: ArcResult, message: Message | None) -> Arc:
    """The sets from the message; without it from the result, which has them only when the chain holds."""
    if message is None:
        sets = tuple(ArcSet(str(s.instance), s.domain, s.selector, "") for s in result.seals)
    else:
        canonical = CanonicalMessage(message)
        seals = [_tags(canonical, place) for place in canonical.places(b"arc-seal")[:MAX_SHOWN_SETS]]
        sets = tuple(
            ArcSet(_text(tags, b"i"), _text(tags, b"d"), _text(tags, b"s"), _text(tags, b"cv"))
            for tags in seals
        )
        sets = tuple(
            sorted(sets, key=lambda s: int(s.instance) if s.instance.isdecimal() else 0, reverse=True)
        )
    return Arc(result.result.value, _arc_because(result), sets)


def _arc_because(result: ArcResult) -> str:
    match result.result:
        case ArcWord.NONE:
            return "no ARC sets"
        case ArcWord.FAIL:
            return f"the chain is broken: {visible(result.reason)}"
        case _ if result.oldest_pass:
            return f"the chain holds; the message is unchanged since set {result.oldest_pass}"
        case _:
            return "the chain holds, and the message is unchanged since the first set"


def _signature(
    number: int,
    result: DkimResult,
    tags: Tags,
    canonical: CanonicalMessage | None,
    answers: Answers,
    options: CheckOptions,
) -> Signature:
    coverage = _coverage(tags)
    at = key_name(result)
    names = tuple(visible(name, 80) for name in coverage.names[:MAX_SHOWN_FIELDS]) if coverage else ()
    return Signature(
        number=number,
        result=result.result.value,
        reason=visible(result.reason),
        because=reasons.of_signature(result, at),
        domain=result.domain or _text(tags, b"d"),
        selector=result.selector or _text(tags, b"s"),
        identity=visible(result.identity),
        algorithm=result.algorithm or _text(tags, b"a"),
        canonicalization=f"{coverage.header_form}/{coverage.body_form}" if coverage else _text(tags, b"c"),
        signed_fields=names,
        body=_body(canonical, coverage) if canonical and coverage else "",
        key_name=at,
        key=_key(at, result.algorithm, answers, options) if at else "",
        testing=result.testing,
    )


def _tags(canonical: CanonicalMessage | None, place: int | None) -> Tags:
    if canonical is None or place is None:
        return {}
    try:
        return parse_tags(canonical.field(place).value)
    except InvalidTags:
        return {}


def _coverage(tags: Tags) -> Coverage | None:
    try:
        return read_coverage(tags)
    except Refused:
        return None


def _body(canonical: CanonicalMessage, coverage: Coverage) -> str:
    whole = canonical.body_octets(coverage.body_form)
    part = ""
    if coverage.length is not None:
        part = f", first {coverage.length:,} of {whole:,} octets (l=)"
        if coverage.length > whole:
            return f"shorter than l={coverage.length:,}"
    same = canonical.body_hash(coverage.body_form, coverage.length) == coverage.body_hash
    return ("hash matches" if same else "hash differs: the body was changed after signing") + part


def _key(name: str, algorithm: str, answers: Answers, options: CheckOptions) -> str:
    answer = answers.get(Question(name, RecordType.TXT))
    if answer is None:
        return NOT_RECORDED
    if answer.status is Status.TEMPORARY:
        return f"the DNS could not tell: {visible(answer.reason)}"
    return describe_keys(answer.records, "ed25519" if algorithm == "ed25519-sha256" else "rsa", options)


def describe_keys(records: tuple[bytes, ...], key_type: str, options: CheckOptions) -> str:
    """What the TXT records of a selector hold: the first usable key, or what is wrong with the last one."""
    problem = "TXT records, but no key" if records else "nothing there"
    for record in likely_keys(records):
        try:
            key = usable_key(record, key_type, options)
        except UnusableKey as unusable:
            problem = str(unusable)
            continue
        rsa = key.public_key
        size = f"RSA, {rsa.key_size} bits" if isinstance(rsa, RSAPublicKey) else "Ed25519"
        flags = ", t=y (testing)" * key.testing + ", t=s (exact domain only)" * key.exact_identity
        return size + flags
    return problem


def _text(tags: Tags, name: bytes) -> str:
    return visible(tags.get(name, b""), 100)
