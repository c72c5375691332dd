from collections.abc import Mapping

import pytest

from appliance.checks.answers import Answers, Missing
from appliance.checks.arc import ArcCheck
from appliance.checks.canonical import CanonicalMessage
from appliance.checks.options import CheckOptions
from appliance.mail.authentication import ArcResult, ArcSeal, ArcWord
from appliance.resolver import Status
from tests.checks.mails import NOW, PLAIN, SigningKey, answered, received, sealed
from tests.checks.sealer import Sealer, with_set

KEY = "arc._domainkey.list.example"
OTHER_KEY = "arc._domainkey.other.example"


def check(
    octets: bytes,
    records: Mapping[str, bytes | Status],
    options: CheckOptions = CheckOptions(),  # noqa: B008  frozen
) -> ArcResult:
    arc_check = ArcCheck(CanonicalMessage(received(octets)), NOW, options)
    return arc_check.result(Answers(answered(records)))


@pytest.fixture
def chain(rsa_key: SigningKey) -> bytes:
    """Two sealers, nothing changed on the way."""
    return sealed(rsa_key, sealed(rsa_key, PLAIN, chain="none"), chain="pass", domain="other.example")


@pytest.fixture
def keys(rsa_key: SigningKey) -> dict[str, bytes | Status]:
    return {KEY: rsa_key.record, OTHER_KEY: rsa_key.record}


def test_a_message_without_arc_fields_is_none() -> None:
    """ARC-01."""
    assert check(PLAIN, {}) == ArcResult(ArcWord.NONE)


def test_a_chain_that_dkimpy_seals_passes(chain: bytes, keys: dict[str, bytes | Status]) -> None:
    """ARC-03 to ARC-06; the seals are told newest first."""
    assert check(chain, keys) == ArcResult(
        ArcWord.PASS,
        (ArcSeal(2, "other.example", "arc"), ArcSeal(1, "list.example", "arc")),
        oldest_pass=0,
    )


@pytest.mark.parametrize(
    ("trusted", "asserting"),
    [
        pytest.param((), [], id="nobody"),
        pytest.param(("two.example", "three.example", "one.example"), [3, 2, 1], id="everybody"),
        pytest.param(("three.example",), [3], id="the newest"),
        pytest.param(("three.example", "one.example"), [3], id="not the one in the middle"),
        pytest.param(("one.example", "two.example"), [], id="not the newest"),
    ],
)
def test_arc_09_results_are_read_as_far_down_as_all_sealers_are_trusted(
    rsa_key: SigningKey, trusted: tuple[str, ...], asserting: list[int]
) -> None:
    octets = PLAIN
    for name, address in (("one", "192.0.2.1"), ("two", "192.0.2.2"), ("three", "192.0.2.3")):
        results = f"dmarc=pass header.from=example.org; arc=none smtp.remote-ip={address}"
        octets = with_set(octets, Sealer(rsa_key, f"{name}.example"), results=results)
    keys = {f"arc._domainkey.{name}.example": rsa_key.record for name in ("one", "two", "three")}

    found = check(octets, keys, CheckOptions(trusted_sealers=frozenset(trusted)))

    assert [seal.instance for seal in found.seals if seal.passes] == asserting
    assert found.first_hop == ("192.0.2.1" if asserting else "")


def test_a_change_between_sealers_is_told(rsa_key: SigningKey, keys: dict[str, bytes | Status]) -> None:
    """ARC-06."""
    first = sealed(rsa_key, PLAIN, chain="none")
    octets = sealed(rsa_key, first + b"-- \r\nThe list\r\n", chain="pass", domain="other.example")

    found = check(octets, keys)

    assert (found.result, found.oldest_pass) == (ArcWord.PASS, 2)


def test_a_change_after_the_last_sealer_fails(chain: bytes, keys: dict[str, bytes | Status]) -> None:
    """ARC-04."""
    assert check(chain + b"more", keys).reason == "message signature 2: body hash"
    assert check(chain.replace(b"From: Ann", b"From: Eve"), keys).reason == "message signature 2: signature"


def test_changed_results_break_the_seal(chain: bytes, keys: dict[str, bytes | Status]) -> None:
    at = chain.rindex(b"ARC-Authentication-Results")
    octets = chain[:at] + chain[at:].replace(b"dmarc=pass", b"dmarc=fail", 1)

    assert check(octets, keys) == ArcResult(ArcWord.FAIL, reason="seal 2: signature")


@pytest.mark.parametrize("trouble", [Status.NXDOMAIN, Status.TEMPORARY, b"v=DKIM1; p="])
def test_every_trouble_with_a_key_is_a_failure(
    chain: bytes, keys: dict[str, bytes | Status], trouble: bytes | Status
) -> None:
    """ARC-07."""
    found = check(chain, keys | {KEY: trouble})

    assert found.result is ArcWord.FAIL
    assert found.reason.startswith("seal 1: ")


def test_all_keys_are_missing_at_once(chain: bytes) -> None:
    with pytest.raises(Missing) as missing:
        check(chain, {})

    assert {question.name for question in missing.value.questions} == {KEY, OTHER_KEY}


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        pytest.param(
            b"cv=pass", b"cv=fail", "the newest seal says that the chain failed", id="cv=fail ARC-02"
        ),
        pytest.param(b"cv=none", b"cv=pass", "a seal states a wrong chain status", id="first cv=pass ARC-03"),
        pytest.param(
            b"cv=pass", b"cv=none", "a seal states a wrong chain status", id="second cv=none ARC-03"
        ),
        pytest.param(
            b"ARC-Seal: i=2", b"ARC-Seal: i=3", "instances do not run from 1 without gap", id="gap ARC-03"
        ),
        pytest.param(
            b"ARC-Seal: i=2", b"ARC-Seal: i=1", "instances do not run from 1 without gap", id="twice ARC-03"
        ),
        pytest.param(b"ARC-Seal: i=2", b"X: i=2", "incomplete set", id="incomplete ARC-03"),
        pytest.param(b"ARC-Seal: i=2", b"ARC-Seal: i=0", "set without instance", id="instance 0"),
        pytest.param(b"ARC-Seal: i=2;", b"ARC-Seal: h=from; i=2;", "seal with h=", id="h= in seal ARC-05"),
        pytest.param(b"Results: i=2;", b"Results: x; i=2;", "results without instance", id="results"),
        pytest.param(b"h=from", b"h=arc-seal", "message signature over a seal", id="signs a seal ARC-04"),
        pytest.param(b"ARC-Seal: i=2;", b"ARC-Seal: i=2; i=2;", "a tag occurs twice", id="tag twice"),
    ],
)
def test_malformed_chains_fail_without_a_question(chain: bytes, old: bytes, new: bytes, reason: str) -> None:
    assert old in chain

    assert check(chain.replace(old, new, 1), {}) == ArcResult(ArcWord.FAIL, reason=reason)


def test_long_chains_fail_before_any_question(chain: bytes) -> None:
    """ARC-01, ARC-12."""
    assert check(chain, {}, CheckOptions(max_arc_sets=1)).reason == "too many sets"
    assert check(b"ARC-Seal: i=1\r\n" * 51 + PLAIN, {}).reason == "too many sets"
