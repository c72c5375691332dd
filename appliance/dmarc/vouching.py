"""Whether an ARC chain of trusted sealers says that a failing message passed before (RFC 8617 section 7.2.1)."""

from collections.abc import Container

from appliance.dmarc.evaluation import DmarcWord, Evaluation
from appliance.dmarc.record import AlignmentMode
from appliance.mail.authentication import ArcResult, ArcWord, AssertedPass, Method

MAX_COMMENT = 200  # characters of a report's comment


def vouched(evaluation: Evaluation, arc: ArcResult, trusted: Container[str]) -> bool:
    """Whether *evaluation* failed, but a trusted sealer saw its Author Domain pass (ARC-09).

    Every newer sealer must be trusted too: each could have changed the message.
    """
    if evaluation.result is not DmarcWord.FAIL or arc.result is not ArcWord.PASS:
        return False
    for seal in arc.seals:
        if seal.domain not in trusted:
            return False
        if any(_speaks_for(asserted, evaluation) for asserted in seal.passes):
            return True
    return False


def chain_comment(arc: ArcResult) -> str:
    """Who sealed, newest first, and where the message came from (RFC 8617 section 7.2.2).

    Whole tokens, as many as there is room for: ``arc=pass as[1].d=list.example as[1].s=k remote-ip[1]=192.0.2.1``.
    """
    seals = [
        token
        for seal in arc.seals
        for token in (f"as[{seal.instance}].d={seal.domain}", f"as[{seal.instance}].s={seal.selector}")
    ]
    last = [f"remote-ip[1]={arc.first_hop}"] if arc.first_hop else []
    comment = f"arc={arc.result}"
    room = MAX_COMMENT - sum(len(token) + 1 for token in last)
    for token in seals:
        if len(comment) + 1 + len(token) > room:
            break
        comment += f" {token}"
    return " ".join([comment, *last])


def _speaks_for(asserted: AssertedPass, evaluation: Evaluation) -> bool:
    """Whether what passed authenticates the Author Domain, as far as this is certain without asking the DNS again."""
    if asserted.domain == evaluation.author_domain:
        return True
    if evaluation.published is None or asserted.method is Method.DMARC:
        return False
    record = evaluation.published.record
    mode = record.aspf if asserted.method is Method.SPF else record.adkim
    return mode is AlignmentMode.RELAXED and asserted.domain == evaluation.organizational_domain
