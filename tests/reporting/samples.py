"""Report rows and settings as the tests of the reports use them."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from appliance.settings import Settings, from_document
from appliance.store import facts
from appliance.store import settings as stored_settings
from appliance.store.engine import Store
from appliance.store.facts import PolicyGroup, PublishedPolicy, ReportRow
from reporting.aggregate_xml import Origin

DAY = date(2026, 3, 29)  # summer time begins in Europe on this day
MIDNIGHT = int(datetime(2026, 3, 29, tzinfo=UTC).timestamp())
NEXT_MORNING = datetime(2026, 3, 30, 1, 0, tzinfo=UTC)
HOUR = 3600

PUBLISHED = PublishedPolicy(
    p="reject", sp="quarantine", np="reject", adkim="r", aspf="s", fo="0", testing=False
)
ROW = ReportRow(
    policy_domain="bank.test",
    published=PUBLISHED,
    rua_present=True,
    source_ip="192.0.2.7",
    disposition="pass",
    dkim_aligned=True,
    spf_aligned=False,
    reasons=(),
    header_from="mail.bank.test",
    envelope_from="bounce.bank.test",
    envelope_to="inside.test",
    dkim=(("bank.test", "s1", "pass", ""),),
    spf_domain="bounce.bank.test",
    spf_scope="mfrom",
    spf_result="softfail",
)
SPOOF = replace(
    ROW,
    source_ip="2001:DB8:0:0::1",
    disposition="quarantine",
    dkim_aligned=False,
    reasons=(("mailing_list", "list header fields"), ("policy_test_mode", "t=y")),
    envelope_from="",
    envelope_to="",
    dkim=(("other.test", "", "permerror", "no selector"), ("list.test", "k", "fail", "body hash")),
    spf_domain="",
    spf_result="none",
)
GROUP = PolicyGroup("bank.test", PUBLISHED)
ORIGIN = Origin(
    "Gateway & Söhne", "dmarc@gateway.test", "https://gateway.test/dmarc", "0123456789abcdef0123456789ab"
)


def settings(**reports: Any) -> Settings:
    """Settings with reports switched on; *reports* are changes of that group."""
    group = {
        "enabled": True,
        "readiness_override": "tests",
        "organization": "Gateway & Söhne",
        "address": "dmarc@gateway.test",
        "contact": "https://gateway.test/dmarc",
        "gate": "all",
    }
    return from_document(
        {
            "verification": {"enabled": True},
            "reports": group | reports,
            "identity": {"protected_domains": ["inside.test"]},
        }
    )


def save(store: Store, wanted: Settings) -> None:
    with store.begin() as connection:
        number = stored_settings.current_number(connection)
        stored_settings.save(connection, wanted, based_on=number, author="tests")


def count(store: Store, row: ReportRow, at: int = MIDNIGHT + 12 * HOUR, times: int = 1) -> None:
    """Count *row* as a message received at the Unix second *at*."""
    with store.begin() as connection:
        facts.add(connection, at - at % HOUR, [row] * times)
