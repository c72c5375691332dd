"""Our Authentication-Results field beside authres as its reader: it finds the results, words and names that we wrote."""

import authres
from authres import arc, dkim_b, dmarc
from hypothesis import given
from hypothesis import strategies as st

from appliance.dmarc.evaluation import DmarcWord, Evaluation
from appliance.mail.authentication import (
    ArcResult,
    ArcWord,
    Authentication,
    DkimResult,
    DkimWord,
    SpfResult,
    SpfScope,
    SpfWord,
)
from appliance.mail.results_header import write

Line = tuple[str, str, dict[str, str]]

READER = authres.FeatureContext(dkim_b, dmarc, arc)

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9_-]{0,20}[a-z0-9])?", fullmatch=True)
DOMAINS = st.lists(LABELS, min_size=2, max_size=6).map(".".join)
LOCAL_PARTS = st.from_regex(r"[A-Za-z0-9_+-]{1,12}(\.[A-Za-z0-9_+-]{1,12})?", fullmatch=True)
REASONS = st.text(max_size=120)  # words of ours, but whatever they are they are a comment only
IDENTITIES = st.one_of(
    st.just(""), DOMAINS.map("@{}".format), st.builds("{}@{}".format, LOCAL_PARTS, DOMAINS)
)
SPF = st.builds(
    SpfResult, st.sampled_from(SpfWord), DOMAINS | st.just(""), st.sampled_from(SpfScope), REASONS
)
DKIM = st.builds(
    DkimResult,
    st.sampled_from(DkimWord),
    DOMAINS | st.just(""),
    LABELS,
    IDENTITIES,
    st.sampled_from(["rsa-sha256", "ed25519-sha256", ""]),
    st.from_regex(r"[A-Za-z0-9+/]{8}", fullmatch=True) | st.just(""),
    REASONS,
)
ARC = st.builds(ArcResult, st.sampled_from(ArcWord), st.just(()), st.integers(0, 20) | st.none(), REASONS)
EVALUATIONS = st.builds(
    Evaluation, DOMAINS, st.sampled_from([DmarcWord.NONE, DmarcWord.TEMPERROR]), reason=REASONS
)


def present(**properties: str) -> dict[str, str]:
    """*properties* with a dot for the first underscore, the empty ones left out."""
    return {name.replace("_", ".", 1).replace("_", "-"): value for name, value in properties.items() if value}


def expected(found: Authentication, evaluation: Evaluation) -> list[Line]:
    identity = "helo" if found.spf.scope is SpfScope.HELO else "mailfrom"
    lines: list[Line] = [("spf", found.spf.result.value, present(**{f"smtp_{identity}": found.spf.domain}))]
    for each in found.dkim:
        properties = present(
            header_d=each.domain,
            header_i=each.identity,
            header_s=each.selector,
            header_a=each.algorithm,
            header_b=each.signature_start,
        )
        lines.append(("dkim", each.result.value, properties))
    if not found.dkim:
        lines.append(("dkim", "none", {}))
    oldest = "" if found.arc.oldest_pass is None else str(found.arc.oldest_pass)
    lines.append(("arc", found.arc.result.value, present(header_oldest_pass=oldest)))
    lines.append(("dmarc", evaluation.result.value, present(header_from=evaluation.author_domain)))
    return lines


def read(value: bytes) -> tuple[str, list[Line]]:
    header = READER.parse(f"Authentication-Results:{value.decode('ascii')}")
    return header.authserv_id, [
        (each.method, each.result, {f"{p.type}.{p.name}": _unquoted(p.value) for p in each.properties})
        for each in header.results
    ]


def _unquoted(value: str) -> str:
    return value.removeprefix('"').removesuffix('"')


@given(
    authserv_id=DOMAINS,
    found=st.builds(Authentication, SPF, st.lists(DKIM, max_size=4).map(tuple), ARC),
    evaluation=EVALUATIONS,
)
def test_ar_01_another_reader_finds_what_was_written(
    authserv_id: str, found: Authentication, evaluation: Evaluation
) -> None:
    value = write(authserv_id, found, [evaluation])

    assert read(value) == (authserv_id, expected(found, evaluation))
