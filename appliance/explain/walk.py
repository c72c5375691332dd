"""A tree walk told name by name (RFC 9989 section 4.10), from recorded answers."""

from collections.abc import Mapping

from appliance.checks.dmarc import dmarc_questions
from appliance.dmarc.discovery import Found, LookupFailed, organizational_domain, tree_walk_names
from appliance.dmarc.record import DmarcRecord, Psd, is_dmarc_record, select_record
from appliance.explain.model import Walk, WalkStep
from appliance.explain.visible import visible
from appliance.resolver import Answer, Question, RecordType, Status

Answers = Mapping[Question, Answer]

NOT_RECORDED = "not asked, or not recorded"
HAZARD = "a top-level domain's record without psd=y"
"""DISC-27: it makes one organization of everything below."""
NO_RECORD = "no DMARC record among its TXT records"


def tell_walk(start: str, answers: Answers) -> Walk:
    """The walk from *start*; names behind its end are left out."""
    steps: list[WalkStep] = []
    records: list[Found] = []
    for name in tree_walk_names(start):
        step, record = _step(name, answers)
        if record is not None:
            records.append(Found(name, record))
        steps.append(step)
        if record is not None and record.psd is not Psd.UNKNOWN:
            break
    organizational, because = _organizational(start, records, answers)
    return Walk(start, tuple(steps), organizational, because)


def known_organizational(domain: str, answers: Answers) -> str:
    """The Organizational Domain of *domain*; ``""`` when *answers* don't tell it."""
    try:
        return organizational_domain(domain, lambda name: _lookup(name, answers))
    except LookupFailed:
        return ""


def near_misses(records: tuple[bytes, ...]) -> tuple[str, ...]:
    """TXT records that are no DMARC records, but were surely meant as such."""
    return tuple(
        visible(record)
        for record in records
        if not is_dmarc_record(record) and b"dmarc1" in record[:24].lower()
    )


def _step(name: str, answers: Answers) -> tuple[WalkStep, DmarcRecord | None]:
    asked = f"_dmarc.{name}"
    question = Question(asked, RecordType.TXT)
    answer = answers.get(question)
    if question not in dmarc_questions(name):
        found = "the name is too long to exist"
    elif answer is None:
        found = NOT_RECORDED
    elif answer.status is not Status.RECORDS:
        found = _nothing(answer)
    elif (record := select_record(answer.records)) is not None:
        told = WalkStep(name, asked, visible(record.text), is_record=True, note=_meaning(name, record))
        return told, record
    else:
        found = _discarded(answer.records)
        meant = found != NO_RECORD
        return WalkStep(name, asked, found, is_record=False, note="", discarded=meant), None
    return WalkStep(name, asked, found, is_record=False, note=""), None


def _nothing(answer: Answer) -> str:
    match answer.status:
        case Status.NXDOMAIN:
            return "no such name"
        case Status.TEMPORARY:
            return f"the DNS could not tell: {visible(answer.reason)}"
        case _:
            return "no TXT record"


def _discarded(records: tuple[bytes, ...]) -> str:
    found = [text for text in records if is_dmarc_record(text)]
    if len(found) > 1:
        return f"{len(found)} DMARC records, so none of them counts"
    if found:
        return f"unusable, a tag occurs twice: {visible(found[0])}"
    if misses := near_misses(records):
        return f"no DMARC record, because it does not begin with v=DMARC1: {misses[0]}"
    return NO_RECORD


def _meaning(name: str, record: DmarcRecord) -> str:
    if record.psd is Psd.NO:
        return "psd=n: an Organizational Domain, the walk ends here"
    if record.psd is Psd.YES:
        return "psd=y: a public suffix, the walk ends here"
    return HAZARD if "." not in name else ""


def _lookup(name: str, answers: Answers) -> DmarcRecord | None:
    question = Question(f"_dmarc.{name}", RecordType.TXT)
    answer = answers.get(question)
    if answer is None:
        raise LookupFailed(NOT_RECORDED)
    if answer.status is Status.TEMPORARY:
        raise LookupFailed(answer.reason)
    return select_record(answer.records)


def _organizational(start: str, records: list[Found], answers: Answers) -> tuple[str, str]:
    """The Organizational Domain and the rule that gives it (RFC 9989 section 4.10.2)."""
    try:
        organizational = organizational_domain(start, lambda name: _lookup(name, answers))
    except LookupFailed as failure:
        return "", f"cannot be told: {visible(str(failure))}"
    last = records[-1] if records else None
    if last is None:
        because = "no record on the way up, so the name stands for itself"
    elif last.record.psd is Psd.NO:
        because = "its record says psd=n"
    elif last.record.psd is Psd.YES:
        below = f"one label below {last.domain}, whose record says psd=y"
        because = below if last.domain != start else "a public suffix stands for itself"
    else:
        because = "the shortest name with a record"
    return organizational, because
