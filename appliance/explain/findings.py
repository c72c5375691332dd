"""What is wrong with the records of a domain, and what could be better."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from appliance.checks.spf_trace import MAX_LOOKUPS, MAX_SURVEY_LOOKUPS, MAX_VOID_LOOKUPS, Outcome, Survey
from appliance.dmarc.evaluation import DmarcWord, Evaluation
from appliance.dmarc.record import DmarcRecord, Policy, Psd
from appliance.explain.model import Walk, WalkStep
from appliance.explain.visible import visible
from appliance.explain.walk import HAZARD
from appliance.mail.authentication import SpfWord

_HISTORIC = re.compile(r";\s*(pct|rf|ri)\s*=", re.IGNORECASE)
_RECOMMENDED_RSA_BITS = 2048
_RSA = re.compile(r"RSA, ([0-9]+) bits")


class FindingKind(StrEnum):
    MISTAKE = "mistake"
    ADVICE = "advice"
    TEMPORARY = "temporary"
    """The DNS could not tell now."""


@dataclass(frozen=True, slots=True)
class Finding:
    kind: FindingKind
    text: str

    @classmethod
    def mistake(cls, text: str) -> Self:
        return cls(FindingKind.MISTAKE, text)

    @classmethod
    def advice(cls, text: str) -> Self:
        return cls(FindingKind.ADVICE, text)

    @classmethod
    def temporary(cls, text: str) -> Self:
        return cls(FindingKind.TEMPORARY, text)


def of_dmarc(walk: Walk, evaluation: Evaluation) -> Iterator[Finding]:
    """The walk's names and the record that applies; *evaluation* is of failing mail from the domain."""
    own = walk.steps[0]
    for step in walk.steps:
        yield from _of_step(step)
    if evaluation.result is DmarcWord.TEMPERROR:
        yield Finding.temporary(f"the policy cannot be told now ({visible(evaluation.reason)})")
    elif evaluation.published is not None:
        yield from _of_record(evaluation.published.domain, evaluation.published.record)
    elif own.is_record:
        yield Finding.mistake(f"{own.name}: without a valid p and without rua the record says nothing")
    else:
        yield Finding.mistake(
            f"no DMARC record speaks for {walk.start}: anybody may write in its name unnoticed"
        )


def _of_step(step: WalkStep) -> Iterator[Finding]:
    if step.discarded:
        yield Finding.mistake(f"{step.name}: {step.found}")
    if step.note == HAZARD:
        yield Finding.mistake(
            f"{step.name}: a top-level domain's record without psd=y makes one organization of all domains below it "
            "that have no psd=n of their own: each can speak for the others (RFC 9989 section 11.8)"
        )


def _of_record(domain: str, record: DmarcRecord) -> Iterator[Finding]:
    where = f"_dmarc.{domain}"
    for problem in record.problems:
        yield Finding.mistake(f"{where}: {visible(problem)}")
    own = record.p or Policy.NONE
    below = record.sp or own
    if own is Policy.NONE:
        yield Finding.advice(f"{where}: p=none asks receivers to do nothing about mail that fails")
    if below.severity < own.severity:
        yield Finding.advice(f"{where}: sp={below} is milder than p={own}: names below are less protected")
    if record.np and record.np.severity < below.severity:
        yield Finding.advice(
            f"{where}: np={record.np} is milder than what existing names below have ({below})"
        )
    if record.testing:
        yield Finding.advice(
            f"{where}: t=y asks receivers to act one step milder; remove it when the tests are over"
        )
    if record.psd is Psd.YES and "." in domain:
        yield Finding.advice(
            f"{where}: psd=y is for registries: every domain below counts as an organization"
        )
    for tag in dict.fromkeys(_HISTORIC.findall(record.text)):
        yield Finding.advice(f"{where}: the {tag.lower()} tag is historic and has no effect")


def of_spf(domain: str, survey: Survey, texts: Sequence[bytes]) -> Iterator[Finding]:
    """The SPF record of *domain*; *texts* are all its TXT records."""
    if survey.word is SpfWord.TEMPERROR:
        yield Finding.temporary(
            f"the SPF record of {domain} cannot be followed now ({visible(survey.problem)})"
        )
        return
    yield from (
        Finding.mistake(
            f"{domain}: no SPF record, because v=spf1 must be followed by a space: {visible(text)}"
        )
        for text in texts
        if text[:6].lower() == b"v=spf1" and text[6:7] not in {b"", b" "}
    )
    if survey.word is SpfWord.NONE:
        yield Finding.advice(f"{domain} has no SPF record; if it sends no mail at all, publish v=spf1 -all")
        return
    yield from _of_limits(domain, survey)
    yield from _of_terms(domain, survey)


def _of_limits(domain: str, survey: Survey) -> Iterator[Finding]:
    if survey.lookups > MAX_LOOKUPS:
        count = (
            f"more than {MAX_SURVEY_LOOKUPS}" if survey.lookups > MAX_SURVEY_LOOKUPS else str(survey.lookups)
        )
        yield Finding.mistake(
            f"the SPF record of {domain} takes {count} look-ups; only {MAX_LOOKUPS} are allowed"
        )
    elif survey.lookups >= MAX_LOOKUPS - 1:
        yield Finding.advice(f"the SPF record of {domain} takes {survey.lookups} of {MAX_LOOKUPS} look-ups")
    if survey.void_lookups > MAX_VOID_LOOKUPS:
        yield Finding.mistake(
            f"the SPF record of {domain} asks for {survey.void_lookups} names with nothing there; only "
            f"{MAX_VOID_LOOKUPS} are allowed"
        )
    if survey.problem and survey.lookups <= MAX_LOOKUPS:
        wrong = [step for step in survey.steps if step.term and step.outcome == survey.problem]
        at = f", at {visible(wrong[-1].term)} in the record of {visible(wrong[-1].domain)}" if wrong else ""
        yield Finding.mistake(
            f"the SPF record of {domain} ends in an error for every sender: {survey.problem}{at}"
        )


def _of_terms(domain: str, survey: Survey) -> Iterator[Finding]:
    own = [step for step in survey.steps if step.term and step.domain == domain]
    terms = [step.term.lower() for step in own]
    if {"all", "+all"} & set(terms):
        yield Finding.mistake(f"the SPF record of {domain} allows everybody (+all)")
    if "?all" in terms:
        yield Finding.advice(f"the SPF record of {domain} says nothing about unknown clients (?all)")
    ends = any(term.lstrip("+-~?") == "all" or term.startswith("redirect=") for term in terms)
    if not ends and not survey.problem:
        yield Finding.advice(
            f"the SPF record of {domain} does not say what of other clients: end it with ~all or -all"
        )
    for step in survey.steps:
        bare = step.term.lower().lstrip("+-~?")
        if bare == "ptr" or bare.startswith("ptr:"):
            yield Finding.advice(
                f"{visible(step.domain)}: the SPF term ptr should not be used (RFC 7208 section 5.5)"
            )
    if any(step.outcome == Outcome.UNREACHED for step in own):
        yield Finding.advice(f"the SPF record of {domain} has terms behind all, which are never looked at")


def of_key(name: str, key: str) -> Iterator[Finding]:
    """*key* is what ``describe_keys`` says of the records at *name*."""
    if key.startswith("the DNS could not tell"):
        yield Finding.temporary(f"{name}: {key}")
    elif not key.startswith(("RSA", "Ed25519")):
        yield Finding.mistake(f"{name}: {key}")
    elif (rsa := _RSA.match(key)) and int(rsa[1]) < _RECOMMENDED_RSA_BITS:
        yield Finding.advice(
            f"{name}: an RSA key should have {_RECOMMENDED_RSA_BITS} bits, this has {rsa[1]}"
        )
    if "t=y" in key:
        yield Finding.advice(
            f"{name}: t=y says that the domain tests DKIM; remove it when the tests are over"
        )


def of_reports(refused: Sequence[str], postponed: Sequence[str]) -> Iterator[Finding]:
    """Addresses that no report goes to."""
    yield from (Finding.mistake(f"reports: {text}") for text in refused)
    yield from (Finding.temporary(f"reports: {text}") for text in postponed)
