"""The published policy that applies to an Author Domain, and why that one (RFC 9989 sections 4.7 and 4.10.1)."""

from appliance.dmarc.discovery import Found
from appliance.dmarc.evaluation import Evaluation
from appliance.dmarc.record import DmarcRecord, Policy, Psd, parse_record
from appliance.explain.model import Published, Walk
from appliance.explain.visible import visible


def tell_published(evaluation: Evaluation, walk: Walk) -> Published | None:
    """``None`` when no usable record was found."""
    found = evaluation.published
    if found is None:
        return None
    tag, because = _tag(evaluation, found)
    policy = evaluation.policy.value if evaluation.policy else ""
    requested = evaluation.requested.value if evaluation.requested else ""
    if evaluation.testing:
        because = f"{because}; t=y asks to act one step milder, as for p={requested}"
    return Published(
        record=visible(found.record.text),
        policy_domain=found.domain,
        where=_where(evaluation.author_domain, found, walk),
        tag=tag,
        policy=policy,
        requested=requested,
        because=because,
        problems=tuple(visible(problem) for problem in found.record.problems),
    )


def misstated(record: DmarcRecord) -> bool:
    """Whether the text of *record*, which may be the record as applied, misstates its policy (DISC-12)."""
    parsed = parse_record(record.text.encode("ascii", "replace"))
    return record.misstates_policy or (parsed is not None and parsed.misstates_policy)


def _where(author_domain: str, found: Found, walk: Walk) -> str:
    if found.domain == author_domain:
        return "the domain's own record"
    if found.domain == walk.organizational_domain:
        return "the record of its Organizational Domain"
    if found.record.psd is Psd.YES:
        return "the record of the public suffix above it"
    return "a record above it"


def _tag(evaluation: Evaluation, found: Found) -> tuple[str, str]:
    record = found.record
    if misstated(record):
        return "p", "p, sp or np is missing or wrong, so with a rua address the record counts as p=none"
    if found.domain == evaluation.author_domain:
        return "p", "p is for the record's own domain"
    if evaluation.policy is None:
        return "", "whether np applies cannot be told: the DNS did not say whether the domain exists"
    subdomain = record.sp or record.p or Policy.NONE
    if record.np not in {None, subdomain} and evaluation.policy is record.np:
        return "np", "np is for names below that don't exist, and this one does not"
    if record.sp is not None:
        return "sp", "sp is for names below the record's own"
    return "p", "there is no sp, so p is for the names below as well"
