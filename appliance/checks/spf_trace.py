"""SPF told step by step, and a survey of all that a record makes receivers look up; for people, not for verdicts."""

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import IPv4Address

import spf
from spf import PermError, TempError

from appliance.checks.answers import Answers, Missing
from appliance.checks.spf import spf_identity
from appliance.checks.spf_query import SpfQuery, SpfStep, in_our_words, question_of
from appliance.checks.spf_record import InvalidRecord, Mechanism, parse_record
from appliance.mail.authentication import SpfScope, SpfWord
from appliance.mail.message import IPAddress
from appliance.resolver import RecordType

MAX_LOOKUPS: int = spf.MAX_LOOKUP
MAX_VOID_LOOKUPS: int = spf.MAX_VOID_LOOKUPS
MAX_SURVEY_LOOKUPS: int = spf.MAX_RECURSION  # a survey counts on behind the limit, but not for ever
MAX_STEPS = 300  # told of one check

_NOBODY = IPv4Address(0)  # no message comes from there
_DEPENDS_ON_MESSAGE = re.compile(r"%\{[silvphcrt]", re.IGNORECASE)


class Outcome(StrEnum):
    """What a step's outcome may be, besides a record's result and the reason why an evaluation ended."""

    MATCH = "match"
    NO_MATCH = "no match"
    FOLLOWED = "followed"
    SKIPPED = "depends on the message"
    UNREACHED = "not reached"


@dataclass(frozen=True, slots=True)
class SpfTrace:
    """The steps of one check. A step without a term is a record as a whole: its target is the record's text."""

    steps: tuple[SpfStep, ...] = ()
    lookups: int = 0
    void_lookups: int = 0
    missing: str = ""
    """The question without a recorded answer at which the steps end; ``""`` when they are complete."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What a record makes a receiver look up at most: all of it, as for an IPv4 client that no term names."""

    word: SpfWord
    """The result for such a client; ``none`` without a record."""
    steps: tuple[SpfStep, ...]
    lookups: int
    void_lookups: int
    problem: str
    """Why the record can't be evaluated to its end, ours, printable; or ``""``."""


def trace_spf(client_ip: IPAddress | None, helo: str, mail_from: str, answers: Answers) -> SpfTrace:
    """How ``check_spf`` comes to its result, as far as *answers* tell; never raises ``Missing``."""
    identity = spf_identity(helo, mail_from)
    if client_ip is None or "." not in identity.domain:
        return SpfTrace()
    query = _TracedQuery(client_ip, identity, helo, answers)
    missing = ""
    try:
        query.check()
    except Missing as unanswered:
        missing = str(unanswered)
    except Exception:  # noqa: BLE001, S110  what pyspf lets through; check_spf logs it, and the steps until then stand
        pass
    return SpfTrace(tuple(query.steps[:MAX_STEPS]), query.lookups, query.void_lookups, missing)


def survey_spf(domain: str, answers: Answers) -> Survey:
    """Raises ``Missing``."""
    identity = replace(spf_identity(domain, ""), scope=SpfScope.MAIL_FROM)
    query = _SurveyQuery(_NOBODY, identity, domain, answers)
    try:
        word = SpfWord(query.check()[0])
    except Missing:
        raise
    except Exception:  # noqa: BLE001  what pyspf lets through
        word = SpfWord.PERMERROR
    problem = query.reason(word) if word in {SpfWord.PERMERROR, SpfWord.TEMPERROR} else ""
    return Survey(word, tuple(query.steps[:MAX_STEPS]), query.lookups, query.void_lookups, problem)


class _TracedQuery(SpfQuery):
    """Notes the records as well, and the terms that were not reached."""

    keeps_steps = True

    def check0(self, spf: str | None, recursion: int) -> tuple[str, int, str]:
        if spf is None:
            return super().check0(spf, recursion)
        place = len(self.steps)
        self._note(recursion, "", spf, "")
        try:
            result = super().check0(spf, recursion)
        except (PermError, TempError) as error:
            if len(self.steps) == place + 1:
                self._note_invalid(spf, recursion)
            self._note(recursion, "", spf, in_our_words(error), place)
            raise
        self._note(recursion, "", spf, str(result[0]), place)
        for mechanism in self._unreached(spf, recursion, place):
            self._note(recursion, mechanism.text, "", Outcome.UNREACHED)
        return result

    def _note_invalid(self, text: str, recursion: int) -> None:
        """Find the term that spoils the record."""
        for term in filter(None, text.split(" ")[1:]):
            try:
                parse_record(f"v=spf1 {term}", 4)
            except InvalidRecord as invalid:
                self._note(recursion, term, "", str(invalid.msg))
                return

    def _unreached(self, text: str, recursion: int, place: int) -> tuple[Mechanism, ...]:
        """The mechanisms behind the one that matched."""
        steps = [step for step in self.steps[place + 1 :] if step.depth == recursion]
        return parse_record(text, 4).mechanisms[len(steps) :]


class _SurveyQuery(_TracedQuery):
    """Looks up every term that doesn't depend on a message; limits are counted, not enforced."""

    def check_lookups(self) -> None:
        self.lookups += 1
        if self.lookups > MAX_SURVEY_LOOKUPS:
            raise PermError("too many")

    def _step(self, mechanism: Mechanism, recursion: int) -> bool:
        if not _DEPENDS_ON_MESSAGE.search(mechanism.domain_spec):
            return super()._step(mechanism, recursion)
        self.check_lookups()
        self._note(recursion, mechanism.text, "", Outcome.SKIPPED)
        return False

    def _matches(self, mechanism: Mechanism, target: str, recursion: int) -> bool:
        if mechanism.name == "ptr":
            return False
        matched = super()._matches(mechanism, target, recursion)
        return matched and mechanism.name in {"all", "include"}

    def _records(self, name: str, rdtype: RecordType) -> tuple[bytes, ...]:
        self._counts_voids = False
        records = super()._records(name, rdtype)
        if not records and question_of(name, rdtype):
            self.void_lookups += 1
        return records
