"""Which failure reports a record asks for (RFC 9989 section 4.7)."""

from dataclasses import replace

import pytest

from appliance.dmarc.discovery import Found
from appliance.dmarc.evaluation import DmarcWord, Evaluation
from appliance.dmarc.failure import FailureKind, failures_asked_for, is_aligned, unaligned
from appliance.dmarc.record import AlignmentMode, Policy, parse_record
from appliance.mail.authentication import DkimResult, DkimWord, SpfResult, SpfWord

NO_SPF = SpfResult(SpfWord.NONE, "stranger.test")
BAD_SPF = SpfResult(SpfWord.FAIL, "stranger.test")
OWN = DkimResult(DkimWord.FAIL, "bank.test", "k1", reason="signature")
FOREIGN = DkimResult(DkimWord.FAIL, "list.test", "k2", reason="body hash")
REVOKED = DkimResult(DkimWord.PERMERROR, "bank.test", "k3", reason="key revoked")
GOOD = DkimResult(DkimWord.PASS, "bank.test", "k1")

FAIL, PASS = DmarcWord.FAIL, DmarcWord.PASS


def evaluation(tags: str, result: DmarcWord = FAIL, *, spf: bool = False, dkim: bool = False) -> Evaluation:
    record = parse_record(f"v=DMARC1; p=reject; {tags}".encode())
    assert record
    return Evaluation(
        "bank.test",
        result,
        Found("bank.test", record),
        Policy.REJECT,
        spf_aligned=spf,
        dkim_aligned=dkim,
    )


def kinds(given: Evaluation, spf: SpfResult = NO_SPF, dkim: tuple[DkimResult, ...] = ()) -> tuple[str, ...]:
    return tuple(failure.kind.value for failure in failures_asked_for(given, spf, dkim))


@pytest.mark.parametrize(
    ("fo", "result", "aligned", "expected"),
    [
        pytest.param("", FAIL, "", ("dmarc",), id="fo=0 by default"),
        pytest.param("fo=0", FAIL, "", ("dmarc",), id="0 all failed"),
        pytest.param("fo=0", PASS, "dkim", (), id="0 one passed"),
        pytest.param("fo=0", PASS, "spf dkim", (), id="0 both passed"),
        pytest.param("fo=1", FAIL, "", ("dmarc",), id="1 all failed"),
        pytest.param("fo=1", PASS, "dkim", ("dmarc",), id="1 SPF without an aligned pass"),
        pytest.param("fo=1", PASS, "spf", ("dmarc",), id="1 DKIM without an aligned pass"),
        pytest.param("fo=1", PASS, "spf dkim", (), id="1 both passed"),
        pytest.param("fo=0", DmarcWord.TEMPERROR, "", (), id="0 undecided"),
        pytest.param("fo=1", DmarcWord.TEMPERROR, "", (), id="1 undecided"),
        pytest.param("fo=d", FAIL, "", (), id="d without signature"),
        pytest.param("fo=s", FAIL, "", (), id="s without SPF failure"),
        pytest.param("fo=0:1", FAIL, "", ("dmarc",), id="0 and 1 together are invalid: 0"),
    ],
)
def test_ruf_05_the_dmarc_kind_is_asked_for_by_0_and_1(
    fo: str, result: DmarcWord, aligned: str, expected: tuple[str, ...]
) -> None:
    given = evaluation(f"ruf=mailto:f@bank.test; {fo}", result, spf="spf" in aligned, dkim="dkim" in aligned)

    assert kinds(given) == expected


@pytest.mark.parametrize(
    ("fo", "spf", "dkim", "expected"),
    [
        pytest.param("d", NO_SPF, (OWN,), ("signature",), id="d aligned"),
        pytest.param("d", NO_SPF, (FOREIGN,), ("bodyhash",), id="d not aligned, body hash"),
        pytest.param("d", NO_SPF, (REVOKED,), ("revoked",), id="d key revoked"),
        pytest.param("d", NO_SPF, (FOREIGN, OWN), ("signature",), id="d the aligned one first"),
        pytest.param("d", NO_SPF, (GOOD,), (), id="d passed"),
        pytest.param("d", NO_SPF, (replace(OWN, result=DkimWord.TEMPERROR),), (), id="d undecided"),
        pytest.param("d", NO_SPF, (replace(OWN, result=DkimWord.POLICY),), (), id="d not accepted by us"),
        pytest.param("s", BAD_SPF, (OWN,), ("spf",), id="s failed"),
        pytest.param("s", replace(BAD_SPF, result=SpfWord.SOFTFAIL), (), ("spf",), id="s softfail"),
        pytest.param("s", replace(BAD_SPF, result=SpfWord.PERMERROR), (), ("spf",), id="s permerror"),
        pytest.param("s", replace(BAD_SPF, result=SpfWord.NEUTRAL), (), (), id="s neutral"),
        pytest.param("s", replace(BAD_SPF, result=SpfWord.PASS), (), (), id="s passed"),
        pytest.param("0:d:s", BAD_SPF, (OWN,), ("dmarc", "signature", "spf"), id="all three"),
    ],
)
def test_ruf_05_ruf_06_d_and_s_ask_for_their_own_kinds(
    fo: str, spf: SpfResult, dkim: tuple[DkimResult, ...], expected: tuple[str, ...]
) -> None:
    assert kinds(evaluation(f"ruf=mailto:f@bank.test; fo={fo}"), spf, dkim) == expected


@pytest.mark.parametrize("result", [PASS, FAIL])
def test_ruf_05_d_and_s_ask_whatever_dmarc_says(result: DmarcWord) -> None:
    given = evaluation("ruf=mailto:f@bank.test; fo=d:s", result, dkim=result is PASS)

    assert kinds(given, BAD_SPF, (GOOD, FOREIGN)) == ("bodyhash", "spf")


@pytest.mark.parametrize(
    "tags",
    [
        pytest.param("rua=mailto:a@bank.test; fo=1:d:s", id="no ruf"),
        pytest.param("ruf=mailto:f@bank.test; fo=1:d:s; psd=y", id="a public suffix's record"),
        pytest.param("ruf=; fo=1:d:s", id="an empty ruf"),
    ],
)
def test_ruf_02_nothing_without_ruf_or_from_a_suffix(tags: str) -> None:
    assert kinds(evaluation(tags), BAD_SPF, (OWN,)) == ()


def test_ruf_02_nothing_without_a_record() -> None:
    assert kinds(Evaluation("bank.test", DmarcWord.NONE), BAD_SPF, (OWN,)) == ()


def test_the_dmarc_kind_names_an_aligned_signature_that_failed_and_no_other() -> None:
    given = evaluation("ruf=mailto:f@bank.test")

    [with_own] = failures_asked_for(given, NO_SPF, (FOREIGN, OWN))
    [without] = failures_asked_for(given, NO_SPF, (FOREIGN,))

    assert (with_own.kind, with_own.signature) == (FailureKind.DMARC, OWN)
    assert without.signature is None


@pytest.mark.parametrize(
    ("spf", "dkim", "expected"),
    [(False, False, ("dkim", "spf")), (True, False, ("dkim",)), (False, True, ("spf",)), (True, True, ())],
)
def test_identity_alignment_names_what_did_not_align(
    spf: bool, dkim: bool, expected: tuple[str, ...]
) -> None:
    assert unaligned(evaluation("ruf=mailto:f@bank.test", PASS, spf=spf, dkim=dkim)) == expected


@pytest.mark.parametrize(
    ("domain", "mode", "expected"),
    [
        pytest.param("mail.bank.test", AlignmentMode.STRICT, True, id="the same, strict"),
        pytest.param("bank.test", AlignmentMode.RELAXED, True, id="above, relaxed"),
        pytest.param("other.bank.test", AlignmentMode.RELAXED, True, id="beside, relaxed"),
        pytest.param("bank.test", AlignmentMode.STRICT, False, id="above, strict"),
        pytest.param("evilbank.test", AlignmentMode.RELAXED, False, id="only the end alike"),
        pytest.param("", AlignmentMode.RELAXED, False, id="none"),
    ],
)
def test_alignment_of_what_failed(domain: str, mode: AlignmentMode, expected: bool) -> None:
    given = replace(evaluation("ruf=mailto:f@bank.test"), author_domain="mail.bank.test")

    assert is_aligned(domain, given, mode) is expected
