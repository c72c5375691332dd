"""Which names are the author's own, by mail: alignment, relaxed and strict (S9, S10)."""

import pytest

from appliance.lab.gateway import Gateway
from appliance.lab.samples import Fate
from appliance.mail.domain import to_a_label
from tests.system.behaviour.observing import REPORTING, fresh, put_in_force
from tests.system.behaviour.post import OWN, Letter, Owner, Post, mail

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

RUA = "rua=mailto:r@owner.test"


@pytest.fixture(scope="module", autouse=True)
def _enforced(gateway: Gateway) -> None:
    put_in_force(gateway, {"verification.enabled": True, **REPORTING})


def by_either(owner: Owner, author: str, authenticated: str) -> list[Letter]:
    """From *author*, authenticated by SPF alone and by DKIM alone."""
    octets = mail(f"a@{author}")
    utf8 = () if authenticated.isascii() else ("SMTPUTF8",)
    return [
        Letter(octets, mail_from=f"a@{authenticated}", client_ip=OWN, parameters=utf8),
        Letter(owner.signed(octets, authenticated)),
    ]


@pytest.mark.parametrize(
    ("author", "authenticated", "relaxed", "strict"),
    [
        pytest.param("news.{a}", "{a}", "pass", "fail", id="parent"),
        pytest.param("{a}", "mail.{a}", "pass", "fail", id="child"),
        pytest.param("a.{a}", "b.{a}", "pass", "fail", id="sibling"),
        pytest.param("{a}", "{a}", "pass", "pass", id="identical"),
        pytest.param("{a}", "bad{a}", "fail", "fail", id="a longer name"),
        pytest.param("{u}", "{a}", "pass", "pass", id="U-label in From"),
        pytest.param("{a}", "{u}", "pass", "pass", id="A-label in From"),
        pytest.param("news.{u}", "{a}", "pass", "fail", id="below a U-label"),
    ],
)
def test_s9_names_align_by_organizational_domain_or_exactly(
    post: Post, owner: Owner, author: str, authenticated: str, relaxed: str, strict: str
) -> None:
    letters, expected = [], []
    for mode, result in (("r", relaxed), ("s", strict)):
        u_label = f"bü{fresh()}"
        names = {"u": u_label, "a": to_a_label(u_label)}
        owner.zone.txt(f"_dmarc.{names['a']}", f"v=DMARC1; p=reject; adkim={mode}; aspf={mode}; {RUA}")
        owner.authenticate(to_a_label(authenticated.format(**names)))
        letters += by_either(owner, author.format(**names), authenticated.format(**names))
        expected += [result, result]

    seen = post.send(*letters)

    assert [one.event.result for one in seen] == expected
    assert [one.fate for one in seen] == [
        Fate.DELIVERED if result == "pass" else Fate.REFUSED for result in expected
    ]


@pytest.mark.parametrize("mode", ["r", "s"])
def test_s9_case_makes_no_difference(post: Post, owner: Owner, mode: str) -> None:
    domain = owner.domain(f"p=reject; adkim={mode}; aspf={mode}; {RUA}")

    seen = post.send(*by_either(owner, domain.upper(), domain.replace("test", "Test")))

    assert [(one.event.result, one.fate) for one in seen] == [("pass", Fate.DELIVERED)] * 2


@pytest.mark.parametrize("suffix_tags", [None, f"p=none; psd=y; {RUA}"], ids=["no record", "psd=y"])
def test_s9_a_public_suffix_aligns_with_itself_and_with_no_name_below_it(
    post: Post, owner: Owner, suffix_tags: str | None
) -> None:
    suffix = owner.domain(suffix_tags, label="co")
    owner.zone.txt(f"_dmarc.a.{suffix}", f"v=DMARC1; p=reject; {RUA}")

    below = post.send(*by_either(owner, f"a.{suffix}", suffix))
    itself = post.send(*by_either(owner, suffix, suffix))

    assert [(one.event.result, one.fate) for one in below] == [("fail", Fate.REFUSED)] * 2
    assert {one.event.result for one in itself} == {"pass" if suffix_tags else "none"}


def test_s10_each_identifier_is_aligned_on_its_own(post: Post, owner: Owner) -> None:
    domain = owner.domain()
    owner.authenticate(f"mail.{domain}", f"news.{domain}")

    seen = post.one(
        Letter(
            owner.signed(mail(f"a@{domain}"), f"news.{domain}"),
            mail_from=f"b@mail.{domain}",
            client_ip=OWN,
        )
    )

    assert (seen.event.result, seen.event.spf_aligned, seen.event.dkim_aligned) == ("pass", True, True)
    assert (seen.report_row.spf_domain, seen.report_row.dkim[0][0]) == (f"mail.{domain}", f"news.{domain}")
