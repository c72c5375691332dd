"""The tree walk told name by name: what stood there, and which rule makes the Organizational Domain."""

import pytest

from appliance.explain.walk import HAZARD, NOT_RECORDED, tell_walk
from appliance.resolver import Status
from tests.checks.mails import answered
from tests.explain.explained import Texts

P = b"v=DMARC1; p=reject"


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        pytest.param({"_dmarc.a.test": P}, P.decode(), id="a record"),
        pytest.param({"_dmarc.a.test": Status.NXDOMAIN}, "no such name", id="nothing"),
        pytest.param({"_dmarc.a.test": Status.NO_DATA}, "no TXT record", id="no data"),
        pytest.param({"_dmarc.a.test": Status.TEMPORARY}, "could not tell: timeout", id="DISC-40 temporary"),
        pytest.param({"_dmarc.a.test": [P, P + b";"]}, "2 DMARC records", id="DISC-11 several"),
        pytest.param({"_dmarc.a.test": P + b"; p=none"}, "a tag occurs twice", id="DISC-08 a tag twice"),
        pytest.param({"_dmarc.a.test": b" " + P}, "does not begin with v=DMARC1", id="DISC-05 leading space"),
        pytest.param(
            {"_dmarc.a.test": b"v=dmarc1; p=none"}, "does not begin with v=DMARC1", id="DISC-03 case"
        ),
        pytest.param({"_dmarc.a.test": b"hello"}, "no DMARC record among its TXT records", id="other text"),
        pytest.param({}, NOT_RECORDED, id="not recorded"),
    ],
)
def test_each_name_says_what_stood_there(texts: Texts, found: str) -> None:
    walk = tell_walk("a.test", answered(texts))

    assert walk.steps[0].name == "_dmarc.a.test"
    assert found in walk.steps[0].found


@pytest.mark.parametrize(
    ("texts", "organizational", "because"),
    [
        pytest.param({}, "x.a.test", "no record", id="DISC-19 (4) none"),
        pytest.param(
            {"_dmarc.x.a.test": P, "_dmarc.a.test": P}, "a.test", "shortest", id="DISC-19 (3) shortest"
        ),
        pytest.param({"_dmarc.x.a.test": P + b"; psd=n"}, "x.a.test", "psd=n", id="DISC-19 (1) psd=n"),
        pytest.param({"_dmarc.test": P + b"; psd=y"}, "a.test", "below test", id="DISC-19 (2) psd=y"),
        pytest.param(
            {"_dmarc.x.a.test": P + b"; psd=y"}, "x.a.test", "itself", id="DISC-20 psd=y at the start"
        ),
        pytest.param(
            {"_dmarc.test": Status.TEMPORARY}, "", "cannot be told: timeout", id="DISC-42 temporary"
        ),
    ],
)
def test_the_organizational_domain_comes_with_its_rule(
    texts: Texts, organizational: str, because: str
) -> None:
    nothing: Texts = dict.fromkeys(("_dmarc.x.a.test", "_dmarc.a.test", "_dmarc.test"), Status.NXDOMAIN)

    walk = tell_walk("x.a.test", answered({**nothing, **texts}))

    assert (walk.organizational_domain, because in walk.because) == (organizational, True)


def test_the_walk_ends_at_psd_and_leaves_out_what_is_above() -> None:
    walk = tell_walk("x.a.test", answered({"_dmarc.x.a.test": P + b"; psd=n"}))

    assert [step.domain for step in walk.steps] == ["x.a.test"]


def test_disc_27_a_top_level_record_without_psd_is_pointed_out() -> None:
    walk = tell_walk("a.test", answered({"_dmarc.a.test": Status.NXDOMAIN, "_dmarc.test": P}))

    assert walk.steps[-1].note == HAZARD


def test_disc_28_a_name_without_room_for_the_prefix_is_not_asked() -> None:
    name = ".".join(["a" * 50] * 4 + ["b" * 49])

    walk = tell_walk(name, {})

    assert walk.steps[0].found == "the name is too long to exist"
