"""Where reports may go: the addresses a record names, and whether foreign hosts agreed (RFC 9990 section 4)."""

import asyncio
import time
from dataclasses import dataclass
from enum import StrEnum

from appliance.checks.organizational import find_organizational_domain
from appliance.dmarc.discovery import LookupFailed
from appliance.dmarc.record import DmarcRecord, is_dmarc_record, parse_record, select_record
from appliance.resolver import Question, RecordType, Resolver, Status
from reporting.mailto import MAX_DESTINATIONS, MailAddress, parse_mailtos

CHECK_SECONDS = 30.0  # for everything that is asked about one record


class Kind(StrEnum):
    """Which tag of the record names the addresses."""

    AGGREGATE = "rua"
    FAILURE = "ruf"


@dataclass(frozen=True, slots=True)
class Destinations:
    """What became of the addresses of one tag."""

    addresses: tuple[MailAddress, ...] = ()
    """Reports may go there; in the record's order."""
    refused: tuple[str, ...] = ()
    """Why others get none; ours, printable."""
    postponed: tuple[str, ...] = ()
    """Why others can't be judged now: the DNS did not answer."""


@dataclass(frozen=True, slots=True)
class ReportAddresses:
    """The addresses that reports about one policy domain may go to."""

    rua: tuple[str, ...] = ()
    ruf: tuple[str, ...] = ()


async def fetch_record(policy_domain: str, resolver: Resolver, deadline: float) -> DmarcRecord | None:
    """The record published at *policy_domain* now; raises ``LookupFailed`` when the DNS can't tell."""
    return select_record(await _texts(f"_dmarc.{policy_domain}", resolver, deadline))


async def current_destinations(policy_domain: str, kind: Kind, resolver: Resolver) -> Destinations | None:
    """Where reports about *policy_domain* may go by what is published now (AGG-44).

    ``None`` when there is no record, or it asks for no reports. What the DNS can't tell is postponed.
    """
    deadline = time.monotonic() + CHECK_SECONDS
    try:
        record = await fetch_record(policy_domain, resolver, deadline)
    except LookupFailed as failure:
        return Destinations(postponed=(f"_dmarc.{policy_domain}: {failure}",))
    if record is None or not (record.rua if kind is Kind.AGGREGATE else record.ruf):
        return None
    return await find_destinations(policy_domain, record, kind, resolver, deadline)


async def find_destinations(
    policy_domain: str, record: DmarcRecord, kind: Kind, resolver: Resolver, deadline: float
) -> Destinations:
    """Ask the DNS which of the addresses in *record*, published at *policy_domain*, agreed to get reports about it.

    *deadline* is of ``time.monotonic``; what isn't known by then is postponed, never sent to.
    """
    uris = record.rua if kind is Kind.AGGREGATE else record.ruf
    addresses, problems = parse_mailtos(uris)
    checks = (_Check(policy_domain, a, kind, resolver, deadline).outcome() for a in addresses)
    outcomes = await asyncio.gather(*checks)
    permitted = dict.fromkeys(address for outcome in outcomes for address in outcome.addresses)
    return Destinations(
        tuple(permitted)[:MAX_DESTINATIONS],
        (*problems, *(reason for outcome in outcomes for reason in outcome.refused)),
        tuple(reason for outcome in outcomes for reason in outcome.postponed),
    )


async def is_internal(policy_domain: str, host: str, resolver: Resolver, deadline: float) -> bool:
    """Whether both domains have one Organizational Domain: then nobody needs to agree. Raises ``LookupFailed``."""
    if host == policy_domain:
        return True
    if host.rpartition(".")[2] != policy_domain.rpartition(".")[2]:
        return False  # names under different top-level domains
    ours, theirs = await asyncio.gather(
        *(find_organizational_domain(domain, resolver, deadline) for domain in (policy_domain, host))
    )
    return ours == theirs


async def report_addresses(policy_domain: str, record: bytes, resolver: Resolver) -> ReportAddresses:
    """Where reports about *policy_domain* may go when its TXT record reads *record*; nowhere when it is none.

    What the DNS can't tell now counts as no.
    """
    parsed = select_record([record])
    if parsed is None:
        return ReportAddresses()
    deadline = time.monotonic() + CHECK_SECONDS
    rua, ruf = await asyncio.gather(
        *(find_destinations(policy_domain, parsed, kind, resolver, deadline) for kind in Kind)
    )
    return ReportAddresses(tuple(map(str, rua.addresses)), tuple(map(str, ruf.addresses)))


@dataclass(frozen=True, slots=True)
class _Check:
    """One address of the record at *policy_domain*."""

    policy_domain: str
    address: MailAddress
    kind: Kind
    resolver: Resolver
    deadline: float

    async def outcome(self) -> Destinations:
        try:
            if await is_internal(self.policy_domain, self.address.domain, self.resolver, self.deadline):
                return Destinations((self.address,))
            return await self._confirmed()
        except LookupFailed as failure:
            return Destinations(postponed=(f"{self.address.domain}: {failure}",))

    async def _confirmed(self) -> Destinations:
        """What the host of the address says at ``<policy domain>._report._dmarc``."""
        host = self.address.domain
        name = f"{self.policy_domain}._report._dmarc.{host}"
        texts = sorted(filter(is_dmarc_record, await _texts(name, self.resolver, self.deadline)))
        record = next((parsed for text in texts if (parsed := parse_record(text))), None)
        if record is None:
            return Destinations(refused=(f"{host} did not agree to reports about {self.policy_domain}",))
        instead = record.rua if self.kind is Kind.AGGREGATE else record.ruf
        if not instead:
            return Destinations((self.address,))
        addresses, _ = parse_mailtos(instead)
        if not addresses or any(address.domain != host for address in addresses):
            return Destinations(refused=(f"{host} redirects reports to another host",))
        return Destinations(addresses)


async def _texts(name: str, resolver: Resolver, deadline: float) -> tuple[bytes, ...]:
    answer = await resolver.resolve(Question(name, RecordType.TXT), deadline)
    if answer.status is Status.TEMPORARY:
        raise LookupFailed(answer.reason)
    return answer.records
