"""Settings that are one of a few words, each with the label that people read."""

from enum import StrEnum


class Action(StrEnum):
    """What happens to a message that meets a row of the action table."""

    DELIVER = "deliver"
    QUARANTINE = "quarantine"
    REJECT = "reject"

    @property
    def label(self) -> str:
        return {"deliver": "Do not intercept", "quarantine": "Quarantine", "reject": "Reject"}[self.value]


class TemporaryErrorAction(StrEnum):
    DELIVER = "deliver"
    DEFER = "defer"

    @property
    def label(self) -> str:
        return {"deliver": "Do not intercept", "defer": "Try again later (451)"}[self.value]


class EngineFailureAction(StrEnum):
    """What happens to one message that the filter itself could not judge."""

    DEFER = "defer"
    DELIVER = "deliver"

    @property
    def label(self) -> str:
        return {"deliver": "Do not intercept, mark temperror", "defer": "Try again later (451)"}[self.value]


class Mode(StrEnum):
    """Monitor: everything but the action."""

    MONITOR = "monitor"
    ENFORCE = "enforce"

    @property
    def label(self) -> str:
        return {"monitor": "Monitor only", "enforce": "Enforce"}[self.value]


class Scope(StrEnum):
    ALL = "all"
    LISTED = "listed"

    @property
    def label(self) -> str:
        return {"all": "All author domains", "listed": "Only these"}[self.value]


class Gate(StrEnum):
    """Which policy domains earn a report."""

    ALL = "all"
    ESTABLISHED = "established"
    RECIPROCAL = "reciprocal"
    LISTED = "listed"

    @property
    def label(self) -> str:
        return {
            "all": "Every domain that asks for reports",
            "established": "Domains seen on at least two of the last 30 days",
            "reciprocal": "Domains whose mail we accepted in the last 30 days",
            "listed": "Only domains on the allow list",
        }[self.value]


class ReportForm(StrEnum):
    """How aggregate reports are written: RFC 9990, or the schema of RFC 7489 for readers that know no other."""

    RFC9990 = "rfc9990"
    LEGACY = "legacy"

    @property
    def label(self) -> str:
        return {"rfc9990": "RFC 9990", "legacy": "RFC 7489 (legacy)"}[self.value]
