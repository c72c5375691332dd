"""Reports can be switched on after a passed readiness check, or for a reason (AGG-34)."""

from datetime import timedelta
from typing import Any

import pytest

from appliance.settings import InvalidSettings, Settings, from_document
from appliance.store import readiness
from appliance.store import settings as stored_settings
from appliance.store.engine import Store
from appliance.store.readiness import HOLDS, KEPT, identity_of
from appliance.store.values import now

DAY = timedelta(days=1)


def wanted(*, enabled: bool = True, **reports: Any) -> Settings:
    group = {"enabled": enabled, "organization": "Example", "address": "dmarc@example.org"}
    return from_document({"verification": {"enabled": True}, "reports": group | reports})


IDENTITY = identity_of(wanted().reports)


def check(store: Store, identity: str = IDENTITY, *, passed: bool = True, ago: timedelta = DAY) -> None:
    with store.begin() as connection:
        readiness.record(connection, identity, passed=passed, document="{}", now=now() - ago)


def save(store: Store, settings: Settings) -> None:
    with store.begin() as connection:
        number = stored_settings.current_number(connection)
        stored_settings.save(connection, settings, based_on=number, author="ann")


def refused(store: Store, settings: Settings) -> bool:
    """Whether *settings* can't be saved for want of a check; the remedy is told beside the override."""
    try:
        save(store, settings)
    except InvalidSettings as error:
        [problem] = error.problems
        assert problem.field == "reports.readiness_override"
        assert "dmarcgate report readiness" in problem.message
        return True
    return False


def test_agg_34_reports_are_not_switched_on_without_a_check(store: Store) -> None:
    assert refused(store, wanted())
    assert not refused(store, wanted(enabled=False))


def test_agg_34_a_passed_check_or_a_reason_lets_reports_be_switched_on(store: Store) -> None:
    assert not refused(store, wanted(readiness_override="a trial"))
    check(store)
    assert not refused(store, wanted())


@pytest.mark.parametrize(
    ("identity", "passed", "ago"),
    [
        pytest.param(IDENTITY, False, DAY, id="failed"),
        pytest.param(IDENTITY, True, HOLDS + DAY, id="out of date"),
        pytest.param(identity_of(wanted(address="d@other.example").reports), True, DAY, id="other address"),
        pytest.param(
            identity_of(wanted(bounce_domain="b.example.org").reports), True, DAY, id="other bounces"
        ),
        pytest.param(identity_of(wanted(organization="Other").reports), True, DAY, id="other name"),
    ],
)
def test_agg_34_what_is_no_passed_check_of_this_identity_does_not_count(
    store: Store, identity: str, passed: bool, ago: timedelta
) -> None:
    check(store, identity, passed=passed, ago=ago)

    assert refused(store, wanted())


def test_agg_34_the_last_check_counts(store: Store) -> None:
    check(store, ago=2 * DAY)
    check(store, passed=False)

    assert refused(store, wanted())


def test_reports_that_are_on_stay_on_when_the_check_is_out_of_date(store: Store) -> None:
    check(store)
    save(store, wanted())
    check(store, passed=False, ago=timedelta())

    assert not refused(store, wanted(contact="Ask Ann"))


def test_agg_34_another_identity_needs_another_check(store: Store) -> None:
    check(store)
    save(store, wanted())

    assert refused(store, wanted(address="other@example.org"))


def test_agg_34_taking_the_reason_back_needs_a_check(store: Store) -> None:
    save(store, wanted(readiness_override="a trial"))

    assert refused(store, wanted())


def test_checks_of_long_ago_go(store: Store) -> None:
    check(store, "old", ago=KEPT + DAY)

    check(store)

    with store.read() as connection:
        assert readiness.latest(connection, "old") is None
        assert readiness.latest(connection, IDENTITY) is not None
