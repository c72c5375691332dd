"""The settings of signatures: their defaults, their bounds, and what the checks make of them."""

import pytest

from appliance.checks.options import CheckOptions, options_of
from appliance.settings import InvalidSettings, Settings, from_document


def test_by_default_partial_bodies_and_unsigned_duplicates_do_not_count_and_no_sealer_is_trusted() -> None:
    """DKIM-03, DKIM-09, DKIM-11, ARC-09, ARC-12."""
    chosen, default = options_of(Settings()), CheckOptions()

    assert not chosen.accept_partial_body
    assert chosen.refuse_unsigned_duplicates
    assert (chosen.min_rsa_bits, chosen.max_arc_sets) == (1024, 20)
    assert (chosen.min_rsa_bits, chosen.max_arc_sets) == (default.min_rsa_bits, default.max_arc_sets)
    assert "list.example" not in chosen.trusted_sealers


def test_what_is_chosen_reaches_the_checks() -> None:
    chosen = options_of(
        from_document(
            {
                "signatures": {
                    "partial_body_counts": True,
                    "unsigned_duplicates_count": True,
                    "min_rsa_bits": 2048,
                    "max_arc_sets": 50,
                },
                "network": {"trusted_sealers": ["list.example", "*.relay.example # partner"]},
            }
        )
    )

    assert chosen.accept_partial_body
    assert not chosen.refuse_unsigned_duplicates
    assert (chosen.min_rsa_bits, chosen.max_arc_sets) == (2048, 50)
    assert "list.example" in chosen.trusted_sealers
    assert "a.relay.example" in chosen.trusted_sealers
    assert "relay.example" not in chosen.trusted_sealers


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("min_rsa_bits", 1023, id="less than RFC 8301 allows, DKIM-03"),
        pytest.param("min_rsa_bits", 8192, id="longer than what is in use"),
        pytest.param("max_arc_sets", 51, id="more than RFC 8617 allows, ARC-01"),
        pytest.param("max_arc_sets", 0, id="none at all"),
    ],
)
def test_what_no_standard_allows_is_refused(name: str, value: int) -> None:
    with pytest.raises(InvalidSettings) as refused:
        from_document({"signatures": {name: value}})

    assert [problem.field for problem in refused.value.problems] == [f"signatures.{name}"]
