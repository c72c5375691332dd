"""Whether bounces of our reports find us: the bounce domain's mail leads here, and is taken."""

import smtplib
from collections.abc import Collection

from appliance.resolver import RecordType, TemporaryDnsError
from reporting.readiness.measure import IPAddress, Measure, Subject, failing, ok, warning
from reporting.readiness.names import TRY_AGAIN, Dns
from reporting.readiness.postfix import printable, refusal_of


async def look_at_way_in(dns: Dns, domain: str, helo: str, outgoing: Collection[IPAddress]) -> Measure:
    """Whether the MX records of *domain*, or without any its addresses, lead to us (RFC 5321 section 5.1)."""
    try:
        hosts = await _hosts(dns, domain)
        addresses = {address for host in hosts for address in await dns.addresses(host)}
    except TemporaryDnsError as trouble:
        return failing(Subject.BOUNCES, str(trouble), TRY_AGAIN)
    publish = (
        f"publish at {domain}: MX 10 {helo}., or set reports.bounce_domain to a domain whose mail comes here"
    )
    if not addresses:
        return failing(
            Subject.BOUNCES, f"nobody can send mail to {domain}: no server of it is known", publish
        )
    named = ", ".join(hosts)
    if helo in hosts or addresses & {str(address) for address in outgoing}:
        return ok(Subject.BOUNCES, f"mail to {domain} goes to {named}, which is us")
    return warning(
        Subject.BOUNCES,
        f"mail to {domain} goes to {named}, which does not look like this machine",
        f"see that it hands bounces+…@{domain} on to this gateway; else {publish}",
    )


def look_at_taking(listener: str, return_path: str, helo: str) -> Measure:
    """Whether Postfix takes a bounce from outside at *listener*."""
    try:
        refusal = refusal_of(listener, return_path, helo)
    except (OSError, smtplib.SMTPException) as error:
        return failing(
            Subject.BOUNCES,
            f"no answer at {listener}: {printable(str(error))}",
            "start Postfix, or set postfix.smtp of the node file to where it takes mail from outside",
        )
    if refusal:
        return failing(
            Subject.BOUNCES,
            f"Postfix refuses a bounce for {return_path}: {refusal}",
            "let Postfix take mail for the bounce domain, and see that the filter and the reports service run",
        )
    return ok(Subject.BOUNCES, f"Postfix takes a bounce for {return_path}")


async def _hosts(dns: Dns, domain: str) -> list[str]:
    records = await dns.texts(domain, RecordType.MX)
    if not records:
        return [domain]
    exchangers = sorted(
        (int(preference), host) for preference, _, host in (r.partition(" ") for r in records)
    )
    return [host for _, host in exchangers if host not in {"", "."}]  # "." is nobody (RFC 7505)
