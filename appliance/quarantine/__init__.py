"""Quarantined messages: kept as files, looked at, released through Postfix, deleted, expired."""

from appliance.quarantine.deleting import delete, undelete
from appliance.quarantine.desk import Desk, NotNow
from appliance.quarantine.excepting import Released, Wish, exception_for, release_with_exception
from appliance.quarantine.files import (
    Condition,
    DamagedMessage,
    MissingMessage,
    Quarantine,
    QuarantineFull,
)
from appliance.quarantine.handover import PostfixUnreachable, ReleaseRefused, ReleaseUncertain
from appliance.quarantine.recovery import Recovered, recover
from appliance.quarantine.releasing import TRACE_FIELD, may_be_under_way, release
from appliance.quarantine.tidy import Tidied, tidy
from appliance.quarantine.usage import Fill, measure
from appliance.quarantine.view import MessageView, Part, view

__all__ = [
    "TRACE_FIELD",
    "Condition",
    "DamagedMessage",
    "Desk",
    "Fill",
    "MessageView",
    "MissingMessage",
    "NotNow",
    "Part",
    "PostfixUnreachable",
    "Quarantine",
    "QuarantineFull",
    "Recovered",
    "ReleaseRefused",
    "ReleaseUncertain",
    "Released",
    "Tidied",
    "Wish",
    "delete",
    "exception_for",
    "may_be_under_way",
    "measure",
    "recover",
    "release",
    "release_with_exception",
    "tidy",
    "undelete",
    "view",
]
