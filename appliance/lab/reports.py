"""Build, send and read the lab's aggregate reports of the day so far."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

from appliance.lab.demonstration import Line
from appliance.lab.gateway import Gateway
from appliance.lab.mailbox import NotDelivered
from appliance.settings import Gate
from appliance.store.reports import JobStatus
from reporting.jobs import build_day, send_pending

_ARRIVAL_SECONDS = 15.0


def demonstrate_reports(gateway: Gateway) -> Iterator[Line]:
    """One line a report, and one that a second build makes no second report."""
    now = datetime.now(UTC)
    built = build_day(gateway.store, now.date(), now=now, until=now, gate=Gate.ALL)
    sent = send_pending(
        gateway.store,
        nameserver=gateway.nameserver.address,
        listener=("127.0.0.1", gateway.postfix.config.report_port),
    )
    accepted = {result.job_id: result.accepted for result in sent if result.status is JobStatus.SENT}
    for job in built:
        recipients = accepted.get(job.id, ())
        arrived = _arrived(gateway, job.report_id, len(recipients))
        yield Line(
            part="report",
            name=f"{job.messages} messages",
            author=job.policy_domain,
            client_ip="",
            expected="sent and delivered",
            outcome="sent and delivered" if recipients and arrived else job.status.value,
            dmarc="",
            reply=f"250 for {', '.join(recipients)}",
            id=job.report_id,
            why=f"to {', '.join(recipients)}" if recipients else job.reason,
            ok=bool(recipients) and arrived,
        )
    again = build_day(gateway.store, now.date(), now=datetime.now(UTC), until=now, gate=Gate.ALL)
    yield Line(
        part="report",
        name="second build of the day",
        author="",
        client_ip="",
        expected="no report",
        outcome=f"{len(again)} reports" if again else "no report",
        dmarc="",
        reply="250",
        id="",
        why="a day, a policy domain and a policy have one report",
        ok=bool(built) and not again,
    )


def _arrived(gateway: Gateway, report_id: str, copies: int) -> bool:
    """Whether *copies* mails with this Report-ID reached the mailbox of the world outside."""
    try:
        found = gateway.outside.wait_until(
            lambda message: any(report_id in subject for subject in message.texts("Subject")),
            f"report {report_id}",
            count=max(copies, 1),
            seconds=_ARRIVAL_SECONDS,
        )
    except NotDelivered:
        return False
    return max(Counter(message.recipient for message in found).values()) == 1
