"""Reports of all shapes that ours can have, the same at every call."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from appliance.store.facts import PolicyGroup, PublishedPolicy, ReportRow
from reporting.period import Period, utc_day
from tests.reporting.samples import DAY

_POLICIES = ("none", "quarantine", "reject")
_REASONS = ("local_policy", "mailing_list", "other", "policy_test_mode", "trusted_forwarder")
_DKIM_WORDS = ("none", "pass", "fail", "policy", "neutral", "temperror", "permerror")
_SPF_WORDS = ("none", "pass", "fail", "softfail", "policy", "neutral", "temperror", "permerror")
_DOMAINS = (
    "bank.test",
    "news.bank.test",
    "xn--bcher-kva.test",
    "_spf.odd.test",
    "with_underscore.test",
    ".".join(["a" * 60] * 4),
)
_COMMENTS = ("", "list header fields", "exception 192.0.2.0/24", 'quotes " and <brackets> & more', "x" * 200)


@dataclass(frozen=True, slots=True)
class Shape:
    """What one report is about."""

    group: PolicyGroup
    period: Period
    rows: tuple[tuple[ReportRow, int], ...]
    not_listed: int


def shapes(number: int) -> Iterator[Shape]:
    chance = random.Random(9990)
    for place in range(number):
        group = PolicyGroup(f"{place}.{chance.choice(_DOMAINS[:3])}", _published(chance))
        parts = utc_day(DAY).parts(chance.choice((24, 24, 24, 6, 1)))
        rows = {
            _row(group, chance): chance.choice((1, 2, 999_999)) for _ in range(chance.choice((1, 1, 5, 60)))
        }
        yield Shape(group, chance.choice(parts), tuple(rows.items()), chance.choice((0, 0, 0, 12_345)))


def _published(chance: random.Random) -> PublishedPolicy:
    return PublishedPolicy(
        p=chance.choice(_POLICIES),
        sp=chance.choice(_POLICIES),
        np=chance.choice(_POLICIES),
        adkim=chance.choice("rs"),
        aspf=chance.choice("rs"),
        fo=chance.choice(("0", "1", "d:s", "0:1:d:s")),
        testing=chance.random() < 0.3,
        error=chance.choice(("", "", "the p tag is not none, quarantine or reject; & more")),
    )


def _row(group: PolicyGroup, chance: random.Random) -> ReportRow:
    return ReportRow(
        policy_domain=group.policy_domain,
        published=group.published,
        rua_present=True,
        source_ip=chance.choice(
            (f"192.0.2.{chance.randrange(256)}", f"2001:db8::{chance.randrange(65_536):x}", "::1")
        ),
        disposition=chance.choice(("none", "pass", "quarantine", "reject")),
        dkim_aligned=chance.random() < 0.5,
        spf_aligned=chance.random() < 0.5,
        reasons=tuple(
            (chance.choice(_REASONS), chance.choice(_COMMENTS)) for _ in range(chance.choice((0, 0, 1, 3)))
        ),
        header_from=chance.choice((group.policy_domain, f"sub.{group.policy_domain}")),
        envelope_from=chance.choice(("", *_DOMAINS)),
        envelope_to=chance.choice(("", "inside.test", "xn--bcher-kva.test")),
        dkim=tuple(_signature(chance) for _ in range(chance.choice((0, 1, 2, 100)))),
        spf_domain=chance.choice(("", *_DOMAINS)),
        spf_scope="mfrom",
        spf_result=chance.choice(_SPF_WORDS),
    )


def _signature(chance: random.Random) -> tuple[str, str, str, str]:
    selector = chance.choice(("s1", "", "2026.march", "x" * 63))
    return chance.choice(_DOMAINS), selector, chance.choice(_DKIM_WORDS), chance.choice(_COMMENTS)
