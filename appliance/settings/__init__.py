"""Every setting of the product: default, bound, label and help in one place; a document can be read and written."""

from appliance.settings.choices import (
    Action,
    EngineFailureAction,
    Gate,
    Mode,
    ReportForm,
    Scope,
    TemporaryErrorAction,
)
from appliance.settings.document import from_document, to_document
from appliance.settings.exceptions import ExceptionMode, ExceptionRecord
from appliance.settings.model import (
    ActionTable,
    Identity,
    Network,
    Reports,
    Retention,
    Settings,
    Signatures,
    Verification,
)
from appliance.settings.problems import InvalidSettings, Problem
from appliance.settings.records import DomainRecord, NetworkRecord

__all__ = [
    "Action",
    "ActionTable",
    "DomainRecord",
    "EngineFailureAction",
    "ExceptionMode",
    "ExceptionRecord",
    "Gate",
    "Identity",
    "InvalidSettings",
    "Mode",
    "Network",
    "NetworkRecord",
    "Problem",
    "ReportForm",
    "Reports",
    "Retention",
    "Scope",
    "Settings",
    "Signatures",
    "TemporaryErrorAction",
    "Verification",
    "from_document",
    "to_document",
]
