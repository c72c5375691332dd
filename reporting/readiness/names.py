"""What the DNS says of the outgoing address and the HELO name: receivers look there first."""

import time
from collections.abc import Iterable

from appliance.resolver import Question, RecordType, Resolver, Status, TemporaryDnsError
from reporting.readiness.measure import IPAddress, Measure, Subject, failing, ok, warning

ALL_SECONDS = 60.0
MAX_NAMES = 10  # of one address, looked at

TRY_AGAIN = "check that the name server works, then try again"


class Dns:
    """Asks within one check's time; what can't be told now is a ``TemporaryDnsError``."""

    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver
        self.deadline = time.monotonic() + ALL_SECONDS

    async def texts(self, name: str, record_type: RecordType) -> list[str]:
        """The records at *name*; host names in lower case."""
        answer = await self.resolver.resolve(Question(name, record_type), self.deadline)
        if answer.status is Status.TEMPORARY:
            raise TemporaryDnsError(f"{name}: {answer.reason}")
        return [record.decode("latin-1") for record in answer.records]

    async def addresses(self, name: str) -> set[str]:
        """IPv4 and IPv6 addresses of *name*."""
        return {*await self.texts(name, RecordType.A), *await self.texts(name, RecordType.AAAA)}


async def look_at_helo(dns: Dns, helo: str, outgoing: Iterable[IPAddress]) -> Measure:
    """Whether the name that Postfix greets with leads to each of the *outgoing* addresses."""
    if "." not in helo or helo.endswith((".localdomain", ".local", ".internal")):
        return failing(
            Subject.HELO,
            f"Postfix calls itself {helo or 'nothing'}, which is no full name in the public DNS",
            "set myhostname of Postfix to a full name of this machine, and publish that",
        )
    try:
        found = await dns.addresses(helo)
    except TemporaryDnsError as trouble:
        return failing(Subject.HELO, str(trouble), TRY_AGAIN)
    missing = [str(address) for address in outgoing if str(address) not in found]
    if missing:
        return failing(
            Subject.HELO,
            f"{helo} has {_list(sorted(found))}, not {_list(missing)}",
            f"publish {_records(helo, missing)}, or set myhostname of Postfix to a name that leads here",
        )
    return ok(Subject.HELO, f"{helo} leads to {_list(map(str, outgoing))}")


async def look_at_reverse(dns: Dns, address: IPAddress, helo: str) -> Measure:
    """Whether *address* has a name that leads back to it (RFC 1912 section 2.1)."""
    try:
        names = (await dns.texts(address.reverse_pointer, RecordType.PTR))[:MAX_NAMES]
        confirmed = [name for name in names if str(address) in await dns.addresses(name)]
    except TemporaryDnsError as trouble:
        return failing(Subject.REVERSE, str(trouble), TRY_AGAIN)
    ask = f"ask whoever gave you {address} to publish at {address.reverse_pointer}: PTR {helo}."
    if not names:
        return failing(Subject.REVERSE, f"{address} has no name", ask)
    if not confirmed:
        return failing(
            Subject.REVERSE, f"{address} is called {_list(names)}, which does not lead back to it", ask
        )
    if helo not in confirmed:
        return warning(
            Subject.REVERSE,
            f"{address} is called {_list(confirmed)}, but Postfix says {helo}",
            f"{ask} Some receivers want both names to be one.",
        )
    return ok(Subject.REVERSE, f"{address} is called {helo}, which leads back to it")


def _records(name: str, addresses: Iterable[str]) -> str:
    return ", ".join(f"{name}. {'AAAA' if ':' in address else 'A'} {address}" for address in addresses)


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "no address"
