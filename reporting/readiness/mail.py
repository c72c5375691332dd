"""A report as its receiver would see it: SPF, DKIM and DMARC, judged by the checks that judge others' mail (AGG-34)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from appliance.checks.authenticate import Assessment, authenticate
from appliance.dmarc.evaluation import DmarcWord, Evaluation
from appliance.mail.authentication import SpfWord
from appliance.mail.domain import domain_of
from appliance.mail.message import Envelope, Message, split_message
from appliance.store.keys import Algorithm, KeyState, PublicKey, SigningKey
from reporting.gate import ReportGate
from reporting.key_records import Publication, look_up
from reporting.mailto import parse_mailtos
from reporting.readiness.measure import IPAddress, Measure, Subject, failing, ok, warning
from reporting.readiness.names import TRY_AGAIN, Dns
from reporting.signing import signed


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom reports are from."""

    address: str
    organization: str
    bounce_domain: str
    return_path: str
    """A bounce address of ours."""

    @property
    def domain(self) -> str:
        return domain_of(self.address)


async def look_at_keys(dns: Dns, identity: Identity, keys: Sequence[PublicKey]) -> list[Measure]:
    """Whether each active key of *keys*, those of our domain, is published as it is."""
    active = [key for key in keys if key.state is KeyState.ACTIVE]
    if not active:
        return [await _no_active_key(dns, identity, keys)]
    measures = [_key(key, await look_up(key, dns.resolver, dns.deadline)) for key in active]
    if all(key.algorithm is not Algorithm.RSA for key in active):
        measures.append(
            warning(
                Subject.KEY,
                "the only key is an Ed25519 one, which many receivers don't know",
                "dmarcgate key generate makes an RSA key",
            )
        )
    return measures


async def look_at_mail(
    dns: Dns,
    identity: Identity,
    keys: Sequence[SigningKey],
    outgoing: Sequence[IPAddress],
    helo: str,
    gate: ReportGate,
    now: datetime,
) -> list[Measure]:
    """SPF for each of the *outgoing* addresses, DMARC, and whether reports about our reports come back to us."""
    octets = signed(_sample(identity, now), keys, now)
    measures, evaluations = [], []
    for address in outgoing:
        assessment = await _received(dns, identity.domain, identity.return_path, octets, address, helo, now)
        measures.append(_spf(assessment, identity.bounce_domain, address))
        evaluations.append(assessment.evaluations[0])
        if identity.domain != identity.bounce_domain:
            by_address = await _received(dns, identity.domain, identity.address, octets, address, helo, now)
            measures += _spf_of_the_address(by_address, identity.domain, address)
    measures += [
        _dmarc(evaluation, address) for evaluation, address in zip(evaluations, outgoing, strict=True)
    ]
    return [*measures, *_loop(evaluations[:1], identity, gate)]


async def _no_active_key(dns: Dns, identity: Identity, keys: Sequence[PublicKey]) -> Measure:
    following = [key for key in keys if key.state is KeyState.NEXT]
    if not following:
        return failing(
            Subject.KEY, f"there is no key for {identity.domain}", "make one: dmarcgate key generate"
        )
    found = await look_up(following[0], dns.resolver, dns.deadline)
    return failing(
        Subject.KEY,
        f"{following[0].record_name} is not published: {found.found}",
        "publish what dmarcgate key show says; it may take a while to be seen everywhere",
    )


def _key(key: PublicKey, publication: Publication) -> Measure:
    measured = f"{key.record_name} ({key.algorithm}): {publication.found}"
    if publication.matches:
        return ok(Subject.KEY, measured)
    return failing(
        Subject.KEY, measured, f"publish what dmarcgate key show {key.selector} says, and only that"
    )


def _sample(identity: Identity, now: datetime) -> bytes:
    """What a report has of a mail, but for the report."""
    message = EmailMessage(policy=SMTP)
    message["To"] = identity.address
    message["From"] = Address(identity.organization, addr_spec=identity.address)
    message["Subject"] = (
        f"Report Domain: {identity.domain} Submitter: {identity.domain} Report-ID: <readiness>"
    )
    message["Date"] = format_datetime(now.astimezone(UTC))
    message["Message-ID"] = f"<readiness@{identity.domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("Readiness check\n")
    return message.as_bytes()


async def _received(
    dns: Dns, author_domain: str, mail_from: str, octets: bytes, address: IPAddress, helo: str, now: datetime
) -> Assessment:
    fields, body = split_message(octets)
    envelope = Envelope(
        client_ip=address,
        client_name="",
        helo=helo,
        mail_from=mail_from,
        recipients=(),
        queue_id="",
        received_at=now,
    )
    return await authenticate(
        Message(envelope, fields, body),
        client_ip=address,
        helo=helo,
        author_domains=(author_domain,),
        resolver=dns.resolver,
        now=now,
    )


def _spf(assessment: Assessment, domain: str, address: IPAddress) -> Measure:
    spf = assessment.authentication.spf
    measured = f"{domain}: {spf.result} for {address}" + (f" ({spf.reason})" if spf.reason else "")
    if spf.result is SpfWord.PASS:
        return ok(Subject.SPF, measured)
    if spf.result is SpfWord.TEMPERROR:
        return failing(Subject.SPF, measured, TRY_AGAIN)
    term = f"ip{address.version}:{address}"
    if spf.result is SpfWord.PERMERROR:
        return failing(Subject.SPF, measured, f"put the SPF record right: dmarcgate lookup {domain}")
    if spf.result is SpfWord.NONE:
        return failing(Subject.SPF, measured, f'publish at {domain}: TXT "v=spf1 {term} -all"')
    return failing(Subject.SPF, measured, f"add {term} to the SPF record of {domain}")


def _spf_of_the_address(assessment: Assessment, domain: str, address: IPAddress) -> Iterator[Measure]:
    """Return paths have another domain, so this one counts for nobody but the strict."""
    measure = _spf(assessment, domain, address)
    yield measure if not measure.remedy else warning(Subject.SPF, measure.measured, measure.remedy)


def _dmarc(evaluation: Evaluation, address: IPAddress) -> Measure:
    domain = evaluation.author_domain
    by = [
        name
        for name, aligned in (("SPF", evaluation.spf_aligned), ("DKIM", evaluation.dkim_aligned))
        if aligned
    ]
    match evaluation.result:
        case DmarcWord.PASS if len(by) == 2:
            return ok(Subject.DMARC, f"{domain}: pass by SPF and DKIM from {address}")
        case DmarcWord.PASS:
            return warning(
                Subject.DMARC,
                f"{domain}: pass from {address}, but by {by[0]} alone",
                "mend what is wrong with the other above; for SPF the bounce domain (reports.bounce_domain) must be "
                "that of the report address, or one below the same organization's domain",
            )
        case DmarcWord.NONE:
            why = f": {evaluation.reason}" if evaluation.reason else ""
            return failing(
                Subject.DMARC,
                f"{domain} has no DMARC record{why}",
                f'publish at _dmarc.{domain}: TXT "v=DMARC1; p=reject"',
            )
        case DmarcWord.TEMPERROR:
            return failing(Subject.DMARC, f"{domain}: {evaluation.reason}", TRY_AGAIN)
        case _:
            return failing(
                Subject.DMARC,
                f"{domain}: {evaluation.result} from {address}: neither SPF nor DKIM vouches for it",
                "mend SPF and the DKIM key as said above",
            )


def _loop(evaluations: Sequence[Evaluation], identity: Identity, gate: ReportGate) -> Iterator[Measure]:
    """Receivers that report about our reports, to us: the way into a loop of two gateways."""
    for evaluation in evaluations:
        if evaluation.published is None:
            continue
        destinations, _ = parse_mailtos(evaluation.published.record.rua)
        own = [
            str(to) for to in destinations if gate.is_own(to.domain) or to.domain == identity.bounce_domain
        ]
        place = f"_dmarc.{evaluation.published.domain}"
        if own:
            yield warning(
                Subject.LOOP,
                f"{place} asks for reports about our reports, to {', '.join(own)}",
                f'publish at _dmarc.{identity.domain} a record without rua: TXT "v=DMARC1; p=reject"; best for a '
                "domain that nothing but reports are from",
            )
        else:
            yield ok(Subject.LOOP, f"{place} asks for no reports to ourselves")
