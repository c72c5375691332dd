"""What a domain publishes, as text for a terminal."""

from appliance.explain.domain import LookedUp, ReportTag, SelectorKey, SpfRecord, Wishes
from appliance.explain.findings import Finding, FindingKind
from appliance.explain.lines import heading, pairs, wrapped
from appliance.explain.text import steps_table, walk_lines

_TITLES = {
    FindingKind.MISTAKE: "Mistakes",
    FindingKind.TEMPORARY: "The DNS could not tell now",
    FindingKind.ADVICE: "Could be better",
}


def as_text(looked_up: LookedUp) -> str:
    """Safe for a terminal; ends with a line end."""
    name = f"{looked_up.domain} ({looked_up.unicode})" if looked_up.unicode else looked_up.domain
    wishes = looked_up.wishes
    lines = [
        *pairs([("Domain", name), ("Exists", looked_up.exists)]),
        *heading("DMARC"),
        *(_policy(looked_up, wishes) if wishes else ["  No record that can be used speaks for it."]),
        "",
        "  Policy discovery, name by name:",
        *walk_lines(looked_up.walk, wishes.policy_domain if wishes else ""),
        *(line for tag in looked_up.reports for line in _reports(tag)),
        *_spf(looked_up.spf),
        *_keys(looked_up.keys),
    ]
    for kind in _TITLES:
        lines += _findings(kind, looked_up.findings)
    if not looked_up.findings:
        lines += ["", "  Nothing is wrong."]
    return "\n".join(lines) + "\n"


def _policy(looked_up: LookedUp, wishes: Wishes) -> list[str]:
    return pairs(
        [
            ("Record", wishes.record),
            ("Found at", f"_dmarc.{wishes.policy_domain}"),
            (f"Mail from {looked_up.domain} that fails", looked_up.applied or "cannot be told now"),
            (f"… from names below {wishes.policy_domain}", wishes.below),
            ("… from names below that don't exist", wishes.nonexistent),
        ]
    )


def _reports(tag: ReportTag) -> list[str]:
    if not tag.published:
        return []
    rows = [
        *(("goes to", address) for address in tag.permitted),
        *(("no report", reason) for reason in tag.refused),
        *(("unknown now", reason) for reason in tag.postponed),
    ]
    title = "Aggregate reports (rua)" if tag.tag == "rua" else "Failure reports (ruf)"
    return [*heading(title), *pairs([("published", " ".join(tag.published)), *rows])]


def _spf(spf: SpfRecord) -> list[str]:
    if not spf.steps:
        return [*heading("SPF"), *wrapped(spf.problem or "no record")]
    used = f"{spf.lookups} of {spf.max_lookups} look-ups, {spf.void_lookups} of {spf.max_void_lookups} void"
    return [
        *heading("SPF"),
        f"  A client that no term names uses up {used}.",
        "",
        *steps_table(spf.steps),
    ]


def _keys(keys: tuple[SelectorKey, ...]) -> list[str]:
    if not keys:
        return [
            *heading("DKIM"),
            "  Keys can't be listed; name the selectors of its signatures with --selector.",
        ]
    rows = [row for key in keys for row in ((key.name, key.key), *(("", record) for record in key.records))]
    lines = heading("DKIM")
    for name, text in rows:
        lines += wrapped(f"{name}: {text}" if name else text, first="  " if name else "      ", rest="      ")
    return lines


def _findings(kind: FindingKind, findings: tuple[Finding, ...]) -> list[str]:
    texts = [finding.text for finding in findings if finding.kind is kind]
    if not texts:
        return []
    return [
        *heading(_TITLES[kind]),
        *(line for text in texts for line in wrapped(text, first="  - ", rest="    ")),
    ]
