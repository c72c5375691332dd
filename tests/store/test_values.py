"""How values stand in the store."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.store.values import from_json, from_micros, text, to_json, to_micros


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_an_instant_survives_to_the_microsecond(moment: datetime) -> None:
    assert from_micros(to_micros(moment)) == moment


def test_an_instant_is_kept_in_utc() -> None:
    tokyo = datetime(2026, 3, 4, 9, 0, tzinfo=timezone(timedelta(hours=9)))

    assert from_micros(to_micros(tokyo)) == datetime(2026, 3, 4, 0, 0, tzinfo=UTC)


def test_a_time_without_its_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        to_micros(datetime(2026, 3, 4))  # noqa: DTZ001


@given(st.text(st.characters(codec=None)), st.integers(0, 50))
def test_text_is_bounded_and_every_database_takes_it(value: str, limit: int) -> None:
    safe = text(value, limit)

    assert len(safe) <= limit
    assert "\0" not in safe
    safe.encode("utf-8")


@given(st.binary())
def test_any_octets_survive_as_an_ascii_document(octets: bytes) -> None:
    value = octets.decode("utf-8", "surrogateescape")

    document = to_json([value])

    assert document.isascii()
    assert "\0" not in document
    assert from_json(document) == [value]
