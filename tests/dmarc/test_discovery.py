"""Policy discovery and Organizational Domain by tree walk: rows TW-01 to TW-47, DISC-16 to DISC-43."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.dmarc.discovery import (
    Lookup,
    LookupFailed,
    discover_policy,
    organizational_domain,
    tree_walk_names,
    walk,
)
from appliance.dmarc.evaluation import DmarcWord, Evaluation, evaluate
from appliance.dmarc.record import DmarcRecord, Policy, select_record
from appliance.mail.authentication import DkimResult, DkimWord, SpfResult, SpfWord

Zone = Mapping[str, Sequence[str] | None]
LookupIn = Callable[[Zone, list[str]], Lookup]

NO_SPF = SpfResult(SpfWord.NONE, "")


def records(**tags_by_domain: str) -> dict[str, list[str]]:
    """A zone with one record for each domain; ``_`` in a keyword stands for a dot."""
    return {domain.replace("_", "."): [f"v=DMARC1; {tags}"] for domain, tags in tags_by_domain.items()}


def dkim_pass(domain: str) -> tuple[DkimResult, ...]:
    return (DkimResult(DkimWord.PASS, domain, "s"),)


@dataclass(frozen=True)
class Row:
    zone: Zone
    author: str
    queries: int
    found: str | None = None
    """``policy-domain/tag's policy``; ``None``: DMARC does not apply."""
    organizational: str = ""
    """``""``: not part of the row."""
    enforced: Policy | None = None
    """The policy after ``t=y``, where it differs."""
    exists: bool = True
    aligned: Mapping[str, bool] = field(default_factory=dict)


LONG = "a.b.c.d.e.f.g.h.i.j.mail.example.com"
SIGNING = records(example_com="p=reject", signing_example_com="p=reject")
BANK = records(bank_example="p=none; sp=reject; np=quarantine; psd=y")
NONEXISTENT = records(example_com="p=none; np=reject")
AT_APEX = records(example_com="p=reject")
TWO = ["v=DMARC1; p=reject", "v=DMARC1; p=none"]


def apex(*texts: str) -> Zone:
    return {"example.com": texts}


ROWS = {
    "TW-01 a walk without records": Row({}, LONG, 8, organizational=LONG),
    "TW-02 RFC 9989 B.4.1": Row(
        SIGNING,
        "example.com",
        2,
        "example.com/reject",
        "example.com",
        aligned={"example.com": True, "signing.example.com": True},
    ),
    "TW-03 RFC 9989 B.4.2": Row(
        SIGNING,
        "a.b.c.d.e.f.g.h.i.j.k.example.com",
        8,
        "example.com/reject",
        "example.com",
        aligned={"example.com": True, "signing.example.com": True},
    ),
    "TW-04 RFC 9989 B.4.3": Row(
        records(bank_example="psd=y", giant_bank_example="p=quarantine"),
        "giant.bank.example",
        2,
        "giant.bank.example/quarantine",
        "giant.bank.example",
        aligned={"mail.giant.bank.example": True, "mail.mega.bank.example": False},
    ),
    "TW-05 the record in between is not used": Row(
        records(mail_example_com="p=none", example_com="p=reject; sp=quarantine"),
        "a.mail.example.com",
        4,
        "example.com/quarantine",
        "example.com",
    ),
    "TW-06 psd=n ends the walk": Row(
        records(mail_example_com="p=quarantine; psd=n", example_com="p=reject"),
        "a.mail.example.com",
        2,
        "mail.example.com/quarantine",
        "mail.example.com",
    ),
    "TW-07 a public suffix speaks": Row(
        records(com="p=none; psd=y"), "a.mail.example.com", 4, "com/none", "example.com"
    ),
    "TW-08 a name that the walk leaves out": Row(
        records(example_com="p=reject", b_c_d_e_f_g_example_com="p=none; psd=n"),
        "mail.a.b.c.d.e.f.g.example.com",
        8,
        "example.com/reject",
        "example.com",
    ),
    "TW-09 eight labels": Row(AT_APEX, "a.b.c.d.e.f.example.com", 8, "example.com/reject", "example.com"),
    "TW-10 nine labels": Row(AT_APEX, "a.b.c.d.e.f.g.example.com", 8, "example.com/reject", "example.com"),
    "TW-11 seven labels": Row(AT_APEX, "a.b.c.d.e.example.com", 7, "example.com/reject", "example.com"),
    "TW-12 the author's own record": Row(
        records(news_example_com="p=none", example_com="p=reject; sp=reject"),
        "news.example.com",
        3,
        "news.example.com/none",
        "example.com",
        aligned={"example.com": True},
    ),
    "TW-13 psd=y at the start": Row(
        records(bank_example="p=reject; psd=y"), "bank.example", 1, "bank.example/reject", "bank.example"
    ),
    "TW-14 sp of a public suffix": Row(
        BANK, "www.mega.bank.example", 3, "bank.example/reject", "mega.bank.example"
    ),
    "TW-15 np of a public suffix": Row(
        BANK, "www.mega.bank.example", 3, "bank.example/quarantine", "mega.bank.example", exists=False
    ),
    "TW-16 neither author nor organization": Row(
        records(bank_example="p=reject; psd=y", b_giant_bank_example="p=none"),
        "a.b.giant.bank.example",
        4,
        "bank.example/reject",
        "giant.bank.example",
    ),
    "TW-17 np falls back to sp": Row(
        records(example_com="p=none; sp=reject"),
        "x.example.com",
        3,
        "example.com/reject",
        "example.com",
        exists=False,
    ),
    "TW-18 np of a name that is not there": Row(
        NONEXISTENT, "x.example.com", 3, "example.com/reject", "example.com", exists=False
    ),
    "TW-19 np of a name that is there": Row(
        NONEXISTENT, "x.example.com", 3, "example.com/none", "example.com"
    ),
    "TW-20 sp and np don't apply to the domain itself": Row(
        records(example_com="p=none; sp=reject; np=reject"),
        "example.com",
        2,
        "example.com/none",
        "example.com",
    ),
    "TW-21 two records at the author": Row(
        {"a.example.com": TWO, **records(example_com="p=quarantine")},
        "a.example.com",
        3,
        "example.com/quarantine",
        "example.com",
    ),
    "TW-22 another TXT record beside": Row(
        apex("v=spf1 -all", "v=DMARC1; p=reject"), "example.com", 2, "example.com/reject", "example.com"
    ),
    "TW-23 two records at the organization": Row(
        apex(*TWO), "a.example.com", 3, organizational="a.example.com"
    ),
    "TW-24 t=y lowers reject": Row(
        apex("v=DMARC1; p=reject; t=y"), "example.com", 2, "example.com/reject", enforced=Policy.QUARANTINE
    ),
    "TW-25 t=y lowers quarantine": Row(
        apex("v=DMARC1; p=quarantine; t=y"), "example.com", 2, "example.com/quarantine", enforced=Policy.NONE
    ),
    "TW-26 no p but rua": Row(
        apex("v=DMARC1; rua=mailto:a@example.com"), "example.com", 2, "example.com/none"
    ),
    "TW-27 nothing but the version": Row(apex("v=DMARC1"), "example.com", 2),
    "TW-28 an invalid sp": Row(apex("v=DMARC1; p=reject; sp=bogus"), "example.com", 2),
    "TW-29 an invalid sp but rua": Row(
        apex("v=DMARC1; p=reject; sp=bogus; rua=mailto:a@example.com"), "example.com", 2, "example.com/none"
    ),
    "TW-30 an invalid p and no URI in rua": Row(
        apex("v=DMARC1; p=rejct; rua=a@example.com"), "example.com", 2
    ),
    "TW-31 the version in lower case": Row(apex("v=dmarc1; p=reject"), "example.com", 2),
    "TW-32 the version is not first": Row(apex("p=reject; v=DMARC1"), "example.com", 2),
    "TW-33 no semicolon after the version": Row(apex("v=DMARC1 p=reject"), "example.com", 2),
    "TW-34 unknown and historic tags": Row(
        apex("v=DMARC1; p=reject; pct=0; foo=bar; ri=3600; rf=afrf"), "example.com", 2, "example.com/reject"
    ),
    "TW-35 a policy in mixed case": Row(apex("v=DMARC1; p=Reject"), "example.com", 2, "example.com/reject"),
    "TW-36 a tag twice": Row(apex("v=DMARC1; p=none; p=reject"), "example.com", 2),
    "TW-37 p is not second": Row(
        apex("v=DMARC1; rua=mailto:a@example.com; p=reject"), "example.com", 2, "example.com/reject"
    ),
    "TW-38 an invalid psd counts as u": Row(
        records(mail_example_com="p=none; psd=maybe", example_com="p=reject"),
        "a.mail.example.com",
        4,
        "example.com/reject",
        "example.com",
    ),
    "TW-39 a top-level domain without psd (DISC-27)": Row(
        records(test="p=reject"), "a.example.test", 3, "test/reject", "test", aligned={"other.test": True}
    ),
    "TW-40 no record aligns nothing": Row(
        {}, "a.example.com", 3, organizational="a.example.com", aligned={"example.com": False}
    ),
    "TW-41 psd=n keeps a sibling out (RFC 9989 section 11.8)": Row(
        records(mail_example_com="p=reject; psd=n", example_com="p=reject"),
        "evil.example.com",
        3,
        "example.com/reject",
        "example.com",
        aligned={"mail.example.com": False},
    ),
    "TW-42 without psd=n a sibling aligns": Row(
        records(mail_example_com="p=reject", example_com="p=reject"),
        "evil.example.com",
        3,
        "example.com/reject",
        "example.com",
        aligned={"mail.example.com": True},
    ),
    "TW-43 white space": Row(apex("v = DMARC1 ; p = reject ;"), "example.com", 2, "example.com/reject"),
    "TW-44 a single label": Row(records(test="p=reject"), "test", 1, "test/reject", "test"),
}


@pytest.mark.parametrize("row", [pytest.param(row, id=name) for name, row in ROWS.items()])
def test_the_policy_comes_from_the_right_record(row: Row, lookup_in: LookupIn) -> None:
    asked: list[str] = []

    evaluation = evaluate(row.author, NO_SPF, (), lookup_in(row.zone, asked), lambda: row.exists)

    if row.found is None:
        assert (evaluation.result, evaluation.policy, evaluation.policy_domain) == ("none", None, None)
    else:
        assert evaluation.result is DmarcWord.FAIL
        assert f"{evaluation.policy_domain}/{evaluation.policy}" == row.found
        assert evaluation.requested is (row.enforced or evaluation.policy)
        assert evaluation.testing is bool(row.enforced)
    assert len(asked) <= row.queries


@pytest.mark.parametrize("row", [pytest.param(row, id=name) for name, row in ROWS.items()])
def test_a_walk_finds_the_organizational_domain_in_so_many_queries(row: Row, lookup_in: LookupIn) -> None:
    asked: list[str] = []

    organizational = organizational_domain(row.author, lookup_in(row.zone, asked))

    assert len(asked) == row.queries
    assert organizational == row.organizational or not row.organizational


@pytest.mark.parametrize(
    ("row", "identifier"),
    [pytest.param(r, i, id=f"{name}: {i}") for name, r in ROWS.items() for i in r.aligned],
)
def test_an_identifier_aligns_by_organizational_domain(
    row: Row, identifier: str, lookup_in: LookupIn
) -> None:
    evaluation = evaluate(row.author, NO_SPF, dkim_pass(identifier), lookup_in(row.zone, []), lambda: True)

    assert evaluation.dkim_aligned is row.aligned[identifier]


def test_tw_01_the_walk_visits_the_names_of_the_rfc() -> None:
    """RFC 9989 section 4.10, DISC-16: the full name, then the seven right-most labels, then one less each time."""
    suffixes = ("mail.example.com", "example.com", "com")

    names = tree_walk_names(LONG)

    jump = [f"{left}.mail.example.com" for left in ("g.h.i.j", "h.i.j", "i.j", "j")]
    assert names == (LONG, *jump, *suffixes)


@pytest.mark.parametrize(
    ("author", "second"),
    [
        pytest.param("a.b.c.d.e.f.example.com", "b.c.d.e.f.example.com", id="TW-09"),
        pytest.param("a.b.c.d.e.f.g.example.com", "c.d.e.f.g.example.com", id="TW-10"),
        pytest.param(".".join(["a"] * 120), ".".join(["a"] * 7), id="120 labels"),
    ],
)
def test_the_second_query_has_seven_labels_at_most(author: str, second: str) -> None:
    """DISC-16, DISC-17, DISC-22."""
    names = tree_walk_names(author)

    assert names[1] == second
    assert len(names) == 8


def test_tw_08_a_record_that_the_walk_leaves_out_is_never_asked_for(lookup_in: LookupIn) -> None:
    row = ROWS["TW-08 a name that the walk leaves out"]
    asked: list[str] = []

    discover_policy(row.author, lookup_in(row.zone, asked))

    assert "b.c.d.e.f.g.example.com" not in asked


def test_tw_45_a_timeout_on_the_way_is_temperror_without_a_policy(lookup_in: LookupIn) -> None:
    asked: list[str] = []

    evaluation = evaluate("a.example.com", NO_SPF, (), lookup_in({"example.com": None}, asked), lambda: True)

    assert (evaluation.result, evaluation.policy) == (DmarcWord.TEMPERROR, None)
    assert len(asked) <= 3


OWN_RECORD = {**records(a_example_com="p=reject"), "example.com": None}


def test_tw_46_a_pass_by_the_authors_own_name_needs_no_walk(lookup_in: LookupIn) -> None:
    asked: list[str] = []

    evaluation = evaluate(
        "a.example.com",
        SpfResult(SpfWord.PASS, "a.example.com"),
        (),
        lookup_in(OWN_RECORD, asked),
        lambda: True,
    )

    assert evaluation.result is DmarcWord.PASS
    assert asked == ["a.example.com"]


def test_tw_47_a_pass_that_needs_the_walk_is_temperror_when_the_walk_fails(lookup_in: LookupIn) -> None:
    spf = SpfResult(SpfWord.PASS, "b.example.com")

    evaluation = evaluate("a.example.com", spf, (), lookup_in(OWN_RECORD, []), lambda: True)

    assert evaluation.result is DmarcWord.TEMPERROR


def test_disc_18_the_walk_goes_on_after_a_record_without_psd(lookup_in: LookupIn) -> None:
    zone = records(mail_example_com="p=none", example_com="p=reject")

    found = [each.domain for each in walk("a.mail.example.com", lookup_in(zone, []))]

    assert found == ["mail.example.com", "example.com"]


def test_disc_23_a_public_suffix_does_not_speak_beside_the_organization(lookup_in: LookupIn) -> None:
    zone = records(bank_example="p=reject; psd=y", giant_bank_example="p=none; sp=none")

    found = discover_policy("mail.giant.bank.example", lookup_in(zone, []))

    assert found is not None
    assert found.domain == "giant.bank.example"


def test_disc_28_a_name_too_long_for_the_prefix_is_not_asked_for(lookup_in: LookupIn) -> None:
    label = "a" * 61
    author = f"{label}.{label}.{label}.{'b' * 55}.example"
    asked: list[str] = []

    found = discover_policy(author, lookup_in(records(example="p=reject"), asked))

    assert len(author) == 249
    assert found is not None
    assert author not in asked


def test_disc_40_what_the_lookup_raises_otherwise_passes_through() -> None:
    def broken(_domain: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        discover_policy("example.com", broken)


LABELS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=12)
TAGS = st.sampled_from(["p=none", "p=reject; psd=y", "p=quarantine; psd=n", "rua=x", "v", "psd=y", ""])


@given(labels=LABELS, data=st.data())
def test_t18_any_walk_costs_at_most_eight_queries_and_ends_on_the_path(
    labels: list[str], data: st.DataObject
) -> None:
    author = ".".join([*labels, "example"])
    names = tree_walk_names(author)
    zone = data.draw(st.dictionaries(st.sampled_from(names), TAGS))
    asked: list[str] = []

    organizational = organizational_domain(author, _plain_lookup(zone, asked))

    assert len(asked) <= 8
    assert organizational == author or author.endswith("." + organizational)


@given(labels=LABELS, data=st.data())
def test_a_policy_stands_at_the_author_the_organization_or_a_public_suffix(
    labels: list[str], data: st.DataObject
) -> None:
    author = ".".join([*labels, "example"])
    zone = data.draw(st.dictionaries(st.sampled_from(tree_walk_names(author)), TAGS))
    lookup = _plain_lookup(zone, [])

    found = discover_policy(author, lookup)

    if found:
        speakers = {author, organizational_domain(author, lookup)}
        assert found.domain in speakers or found.record.psd == "y"


def _plain_lookup(zone: Mapping[str, str], asked: list[str]) -> Lookup:
    def lookup(domain: str) -> DmarcRecord | None:
        asked.append(domain)
        return select_record([f"v=DMARC1; {zone[domain]}".encode()] if domain in zone else [])

    return lookup


def test_disc_41_a_failed_look_up_is_never_no_record(lookup_in: LookupIn) -> None:
    with pytest.raises(LookupFailed):
        discover_policy("example.com", lookup_in({"example.com": None}, []))


def test_an_evaluation_without_a_record_asks_for_nothing_else(lookup_in: LookupIn) -> None:
    """DISC-24, DISC-25: no policy, no walk for the identifiers, no question whether the author exists."""
    asked: list[str] = []

    def exists() -> bool:
        raise AssertionError("asked whether the author domain exists")

    evaluation = evaluate("example.com", NO_SPF, dkim_pass("example.net"), lookup_in({}, asked), exists)

    assert evaluation == Evaluation("example.com", DmarcWord.NONE)
    assert asked == ["example.com", "com"]
