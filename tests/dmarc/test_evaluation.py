"""Evaluation: alignment (ALN, S8, S9), policy selection (DISC-30 to DISC-35), DNS trouble (DISC-40 to DISC-43)."""

from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.dmarc.discovery import Lookup, LookupFailed, organizational_domain
from appliance.dmarc.evaluation import DmarcWord, Evaluation, evaluate
from appliance.dmarc.record import Policy
from appliance.mail.authentication import DkimResult, DkimWord, SpfResult, SpfScope, SpfWord
from appliance.mail.domain import to_a_label

Zone = Mapping[str, Sequence[str] | None]
LookupIn = Callable[[Zone, list[str]], Lookup]

NO_SPF = SpfResult(SpfWord.NONE, "")
REJECT = "v=DMARC1; p=reject"
STRICT = "v=DMARC1; p=reject; adkim=s; aspf=s"


def spf(result: str, domain: str) -> SpfResult:
    return SpfResult(SpfWord(result), domain)


def dkim(result: str, *domains: str) -> tuple[DkimResult, ...]:
    return tuple(DkimResult(DkimWord(result), domain, "s") for domain in domains)


def exists() -> bool:
    return True


ALIGNMENT = [  # record at the organizational domain, From, authenticated, relaxed, strict
    pytest.param("example.com", "news.example.com", "example.com", True, False, id="S9 parent"),
    pytest.param("example.com", "example.com", "mail.example.com", True, False, id="S9 child"),
    pytest.param("example.com", "a.example.com", "b.example.com", True, False, id="S9 sibling"),
    pytest.param("example.com", "example.com", "example.com", True, True, id="S9 identical"),
    pytest.param("example.com", "example.com", "badexample.com", False, False, id="S9 same ending"),
    pytest.param("example.com", "EXAMPLE.com", "example.COM", True, True, id="S9 case"),
    pytest.param(
        "xn--bcher-kva.example", "bücher.example", "xn--bcher-kva.example", True, True, id="S9 U-label"
    ),
    pytest.param("example.com", "child.example.com", "example.com", True, False, id="B.1 child and parent"),
    pytest.param("example.com", "child.example.com", "example.net", False, False, id="B.1 another domain"),
    pytest.param("a.co.uk", "a.co.uk", "co.uk", False, False, id="S9 public suffix"),
    pytest.param("example.com", "example.com", "example.com.evil.test", False, False, id="as a prefix"),
    pytest.param("example.com", "example.com", "com", False, False, id="top-level domain"),
    pytest.param("example.com", "example.com", "", False, False, id="no domain"),
]


@pytest.mark.parametrize(("at", "author", "identifier", "relaxed", "strict"), ALIGNMENT)
@pytest.mark.parametrize("mechanism", ["spf", "dkim"])
def test_s9_an_identifier_aligns_in_the_mode_of_the_record(
    at: str, author: str, identifier: str, relaxed: bool, strict: bool, mechanism: str, lookup_in: LookupIn
) -> None:
    """ALN-03, ALN-04; strict alignment never falls through to relaxed (OpenDMARC #268, #354)."""
    name = to_a_label(identifier) if identifier else ""
    by_spf = spf("pass", name) if mechanism == "spf" else NO_SPF
    by_dkim = dkim("pass", name) if mechanism == "dkim" else ()

    for record, expected in ((REJECT, relaxed), (STRICT, strict)):
        lookup = lookup_in({at: [record]}, [])
        evaluation = evaluate(to_a_label(author), by_spf, by_dkim, lookup, exists)

        assert (evaluation.result is DmarcWord.PASS) is expected
        assert evaluation.spf_aligned is (expected and mechanism == "spf")
        assert evaluation.dkim_aligned is (expected and mechanism == "dkim")


def test_t8_a_public_suffix_does_not_align_with_a_name_below_it(lookup_in: LookupIn) -> None:
    zone = {"bank.example": ["v=DMARC1; p=reject; psd=y"]}

    evaluation = evaluate(
        "giant.bank.example", NO_SPF, dkim("pass", "bank.example"), lookup_in(zone, []), exists
    )

    assert evaluation.result is DmarcWord.FAIL


def test_aln_04_each_mechanism_has_its_own_mode(lookup_in: LookupIn) -> None:
    lookup = lookup_in({"example.com": ["v=DMARC1; p=reject; aspf=s; adkim=r"]}, [])

    evaluation = evaluate(
        "example.com", spf("pass", "a.example.com"), dkim("pass", "a.example.com"), lookup, exists
    )

    assert (evaluation.spf_aligned, evaluation.dkim_aligned) == (False, True)


def test_aln_04_the_mode_is_that_of_the_record_that_is_applied(lookup_in: LookupIn) -> None:
    zone = {"a.example.com": [REJECT], "example.com": [STRICT]}

    evaluation = evaluate("a.example.com", NO_SPF, dkim("pass", "example.com"), lookup_in(zone, []), exists)

    assert evaluation.result is DmarcWord.PASS


@pytest.mark.parametrize(
    ("by_spf", "by_dkim", "expected"),
    [
        pytest.param(True, True, "pass", id="both"),
        pytest.param(True, False, "pass", id="SPF only"),
        pytest.param(False, True, "pass", id="DKIM only"),
        pytest.param(False, False, "fail", id="neither"),
    ],
)
def test_s8_one_aligned_pass_is_enough(
    by_spf: bool, by_dkim: bool, expected: str, lookup_in: LookupIn
) -> None:
    evaluation = evaluate(
        "example.com",
        spf("pass" if by_spf else "fail", "example.com"),
        dkim("pass" if by_dkim else "fail", "example.com"),
        lookup_in({"example.com": [REJECT]}, []),
        exists,
    )

    assert evaluation.result == expected


@pytest.mark.parametrize("word", [word for word in SpfWord if word not in {"pass", "temperror"}])
def test_aln_05_nothing_but_an_spf_pass_counts(word: SpfWord, lookup_in: LookupIn) -> None:
    lookup = lookup_in({"example.com": [REJECT]}, [])

    evaluation = evaluate("example.com", SpfResult(word, "example.com"), (), lookup, exists)

    assert evaluation.result is DmarcWord.FAIL


@pytest.mark.parametrize("word", [word for word in DkimWord if word not in {"pass", "temperror"}])
def test_aln_02_nothing_but_a_dkim_pass_counts(word: DkimWord, lookup_in: LookupIn) -> None:
    lookup = lookup_in({"example.com": [REJECT]}, [])

    evaluation = evaluate("example.com", NO_SPF, dkim(word, "example.com"), lookup, exists)

    assert evaluation.result is DmarcWord.FAIL


def test_s7_any_aligned_signature_among_several_is_enough(lookup_in: LookupIn) -> None:
    signatures = (*dkim("fail", "example.com"), *dkim("pass", "lists.example.net", "mail.example.com"))

    evaluation = evaluate("example.com", NO_SPF, signatures, lookup_in({"example.com": [REJECT]}, []), exists)

    assert evaluation.result is DmarcWord.PASS


def test_aln_02_the_identity_of_a_signature_is_not_used(lookup_in: LookupIn) -> None:
    signature = DkimResult(DkimWord.PASS, "example.net", "s", identity="@example.com")

    evaluation = evaluate(
        "example.com", NO_SPF, (signature,), lookup_in({"example.com": [REJECT]}, []), exists
    )

    assert evaluation.result is DmarcWord.FAIL


def test_the_postmaster_at_helo_of_a_null_reverse_path_aligns(lookup_in: LookupIn) -> None:
    """ALN-01: the adapter gives the HELO name for the null reverse path only."""
    helo = SpfResult(SpfWord.PASS, "mx.example.com", SpfScope.HELO)

    evaluation = evaluate("example.com", helo, (), lookup_in({"example.com": [REJECT]}, []), exists)

    assert evaluation.spf_aligned


# Policy selection


@pytest.mark.parametrize(
    ("record", "there", "policy"),
    [
        pytest.param("p=none; sp=quarantine; np=reject", True, "quarantine", id="DISC-31 sp"),
        pytest.param("p=reject", True, "reject", id="DISC-31 p for want of sp"),
        pytest.param("p=none; sp=quarantine; np=reject", False, "reject", id="DISC-31 np"),
        pytest.param("p=none; sp=quarantine", False, "quarantine", id="DISC-31 sp for want of np"),
        pytest.param("p=reject", False, "reject", id="DISC-31 p for want of both"),
    ],
)
def test_disc_31_a_record_above_the_author(
    record: str, there: bool, policy: str, lookup_in: LookupIn
) -> None:
    lookup = lookup_in({"example.com": [f"v=DMARC1; {record}"]}, [])

    evaluation = evaluate("x.example.com", NO_SPF, (), lookup, lambda: there)

    assert evaluation.policy == policy


@pytest.mark.parametrize(
    ("author", "record", "passing"),
    [
        pytest.param("example.com", "p=none; np=reject", False, id="its own record"),
        pytest.param("x.example.com", "p=none; sp=reject; np=reject", False, id="np as sp"),
        pytest.param("x.example.com", "p=reject", False, id="no np"),
        pytest.param("x.example.com", "p=none; np=reject", True, id="a pass"),
    ],
)
def test_disc_33_existence_is_asked_only_when_it_matters(
    author: str, record: str, passing: bool, lookup_in: LookupIn
) -> None:
    asked: list[str] = []

    def ask() -> bool:
        asked.append(author)
        return False

    signatures = dkim("pass", author) if passing else ()
    evaluate(author, NO_SPF, signatures, lookup_in({"example.com": [f"v=DMARC1; {record}"]}, []), ask)

    assert not asked


def test_disc_33_an_unknown_existence_is_temperror(lookup_in: LookupIn) -> None:
    def timeout() -> bool:
        raise LookupFailed("timeout")

    lookup = lookup_in({"example.com": ["v=DMARC1; p=none; np=reject"]}, [])
    evaluation = evaluate("x.example.com", NO_SPF, (), lookup, timeout)

    assert (evaluation.result, evaluation.policy) == (DmarcWord.TEMPERROR, None)


@pytest.mark.parametrize(
    ("policy", "t", "requested"),
    [
        pytest.param("reject", "y", "quarantine", id="reject"),
        pytest.param("quarantine", "y", "none", id="quarantine"),
        pytest.param("none", "y", "none", id="none"),
        pytest.param("reject", "n", "reject", id="t=n"),
        pytest.param("reject", "yes", "reject", id="neither y nor n"),
        pytest.param("reject", "Y", "quarantine", id="upper case"),
    ],
)
def test_disc_34_t_y_lowers_the_policy_one_step(
    policy: str, t: str, requested: str, lookup_in: LookupIn
) -> None:
    lookup = lookup_in({"example.com": [f"v=DMARC1; p={policy}; t={t}"]}, [])

    evaluation = evaluate("example.com", NO_SPF, (), lookup, exists)

    assert evaluation.policy == policy
    assert evaluation.requested == requested
    assert evaluation.testing is (policy != requested)


def test_the_policy_domain_is_where_the_record_stands(lookup_in: LookupIn) -> None:
    """OpenDMARC #142, #270 report the author domain in its place."""
    evaluation = evaluate(
        "a.example.com", NO_SPF, dkim("pass", "example.com"), lookup_in({"example.com": [REJECT]}, []), exists
    )

    assert evaluation.policy_domain == "example.com"
    assert evaluation.organizational_domain == "example.com"


def test_a_misstated_policy_with_rua_is_applied_as_none_and_keeps_its_addresses(lookup_in: LookupIn) -> None:
    """DISC-12; Stalwart ignored such a record, Mail::DMARC its rua."""
    lookup = lookup_in({"example.com": ["v=DMARC1; sp=reject; rua=mailto:Reports@example.com"]}, [])

    evaluation = evaluate("x.example.com", NO_SPF, (), lookup, exists)

    assert evaluation.policy is Policy.NONE
    assert evaluation.published is not None
    assert evaluation.published.record.rua == ("mailto:Reports@example.com",)
    assert evaluation.published.record.problems


def test_an_unusable_record_says_so(lookup_in: LookupIn) -> None:
    evaluation = evaluate(
        "example.com", NO_SPF, (), lookup_in({"example.com": ["v=DMARC1; p=x"]}, []), exists
    )

    assert evaluation == Evaluation("example.com", DmarcWord.NONE, reason="the published record is unusable")


# DNS trouble


@pytest.mark.parametrize("at", ["example.com", "com"])
def test_disc_40_no_policy_is_applied_when_discovery_fails(at: str, lookup_in: LookupIn) -> None:
    evaluation = evaluate(
        "a.example.com", spf("pass", "a.example.com"), (), lookup_in({at: None}, []), exists
    )

    assert (evaluation.result, evaluation.published, evaluation.requested) == ("temperror", None, None)


def test_disc_41_a_pass_stands_beside_a_failed_walk(lookup_in: LookupIn) -> None:
    zone = {"a.example.com": [REJECT], "b.example.com": None}

    evaluation = evaluate(
        "a.example.com",
        spf("pass", "b.example.com"),
        dkim("pass", "a.example.com"),
        lookup_in(zone, []),
        exists,
    )

    assert evaluation.result is DmarcWord.PASS


def test_disc_42_a_relaxed_pass_stands_although_an_earlier_walk_failed(lookup_in: LookupIn) -> None:
    zone = {"example.com": [REJECT], "b.example.com": None}

    evaluation = evaluate(
        "a.example.com",
        spf("pass", "b.example.com"),
        dkim("pass", "example.com"),
        lookup_in(zone, []),
        exists,
    )

    assert evaluation.result is DmarcWord.PASS


@pytest.mark.parametrize(
    ("by_spf", "by_dkim", "expected"),
    [
        pytest.param(spf("temperror", "mail.example.com"), (), "temperror", id="SPF of an aligned domain"),
        pytest.param(spf("temperror", "example.net"), (), "fail", id="SPF of another domain"),
        pytest.param(NO_SPF, dkim("temperror", "example.com"), "temperror", id="key of an aligned signature"),
        pytest.param(NO_SPF, dkim("temperror", "example.net"), "fail", id="key of another signature"),
        pytest.param(
            spf("temperror", "example.com"), dkim("pass", "example.com"), "pass", id="beside an aligned pass"
        ),
        pytest.param(
            spf("pass", "example.net"),
            dkim("temperror", "example.com"),
            "temperror",
            id="beside a pass that is not aligned",
        ),
    ],
)
def test_disc_42_trouble_counts_only_where_it_could_have_become_a_pass(
    by_spf: SpfResult, by_dkim: tuple[DkimResult, ...], expected: str, lookup_in: LookupIn
) -> None:
    """Stalwart before 0.13.2 made a failure of an SPF temperror."""
    evaluation = evaluate("example.com", by_spf, by_dkim, lookup_in({"example.com": [REJECT]}, []), exists)

    assert evaluation.result == expected


def test_disc_42_strict_mode_compares_names_without_the_dns(lookup_in: LookupIn) -> None:
    asked: list[str] = []
    lookup = lookup_in({"example.com": [STRICT], "com": None, "mail.example.com": None}, asked)

    evaluation = evaluate(
        "example.com", spf("temperror", "mail.example.com"), dkim("pass", "mail.example.com"), lookup, exists
    )

    assert evaluation.result is DmarcWord.FAIL
    assert asked == ["example.com"]


@pytest.mark.parametrize("word", ["pass", "temperror", "fail"])
def test_t20_a_spoofers_own_dns_cannot_turn_fail_into_temperror(word: str, lookup_in: LookupIn) -> None:
    """A name outside the author's Organizational Domain can't align, so nobody waits for its DNS."""
    asked: list[str] = []
    lookup = lookup_in({"victim.example": [REJECT], "evil.example": None, "a.evil.example": None}, asked)

    evaluation = evaluate(
        "victim.example",
        spf(word, "evil.example"),
        dkim(word, "a.evil.example", "evil.example"),
        lookup,
        exists,
    )

    assert evaluation.result is DmarcWord.FAIL
    assert asked == ["victim.example", "example"]


def test_t11_a_flood_of_broken_signatures_costs_no_walk_of_its_own(lookup_in: LookupIn) -> None:
    asked: list[str] = []
    flood = dkim("policy", *(f"x{number}.victim.example" for number in range(1000)))

    evaluation = evaluate(
        "victim.example", NO_SPF, flood, lookup_in({"victim.example": [REJECT]}, asked), exists
    )

    assert evaluation.result is DmarcWord.FAIL
    assert asked == ["victim.example", "example"]


@pytest.mark.parametrize(
    ("signatures", "record", "expected"),
    [
        pytest.param(dkim("fail", "example.com"), REJECT, True, id="the author's own"),
        pytest.param(dkim("permerror", "mail.example.com"), REJECT, True, id="relaxed"),
        pytest.param(dkim("policy", "mail.example.com"), STRICT, False, id="not aligned in strict mode"),
        pytest.param(dkim("fail", "example.net"), REJECT, False, id="another domain"),
        pytest.param((), REJECT, False, id="unsigned"),
    ],
)
def test_enf_05_a_broken_aligned_signature_is_noted(
    signatures: tuple[DkimResult, ...], record: str, expected: bool, lookup_in: LookupIn
) -> None:
    evaluation = evaluate("example.com", NO_SPF, signatures, lookup_in({"example.com": [record]}, []), exists)

    assert evaluation.result is DmarcWord.FAIL
    assert evaluation.broken_aligned_signature is expected


NAMES = st.lists(st.sampled_from(["a", "b", "mail", "example"]), min_size=1, max_size=4).map(".".join)
TAGS = st.sampled_from(["p=reject", "p=none; psd=n", "p=reject; psd=y", "p=quarantine; adkim=s"])


@given(author=NAMES, identifier=NAMES, zone=st.dictionaries(NAMES, TAGS, max_size=4))
def test_t8_alignment_is_what_the_definition_says(
    lookup_in: LookupIn, author: str, identifier: str, zone: dict[str, str]
) -> None:
    """Strict means equal names; relaxed means equal Organizational Domains, by the plain definition of both walks."""
    lookup = lookup_in({domain: [f"v=DMARC1; {tags}"] for domain, tags in zone.items()}, [])

    evaluation = evaluate(author, NO_SPF, dkim("pass", identifier), lookup, exists)

    if evaluation.published is not None:
        same = organizational_domain(author, lookup) == organizational_domain(identifier, lookup)
        strict = evaluation.published.record.adkim == "s"
        assert evaluation.dkim_aligned is (identifier == author if strict else same or identifier == author)
