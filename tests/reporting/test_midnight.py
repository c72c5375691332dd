"""Messages judged around midnight: the hours and days that they are counted in."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from sqlalchemy import select

from appliance.filter.handler import Handler
from appliance.lab.nameserver import NameServer
from appliance.milter.replies import Accept
from appliance.policy import LocalPolicy
from appliance.quarantine import Quarantine
from appliance.resolver import Resolver
from appliance.settings import Settings
from appliance.store import reports
from appliance.store.engine import Store
from appliance.store.recorder import Recorder
from appliance.store.schema import fact
from reporting.jobs import build_day
from tests.checks.mails import received
from tests.reporting.reader import read_mail
from tests.reporting.samples import save, settings

MIDNIGHT = datetime(2026, 3, 30, tzinfo=UTC)
TICK = timedelta(microseconds=1)
HOUR = timedelta(hours=1)
MOMENTS = (MIDNIGHT - HOUR, MIDNIGHT - TICK, MIDNIGHT, MIDNIGHT + HOUR - TICK, MIDNIGHT + HOUR)


@dataclass(frozen=True)
class Policies:
    settings: Settings

    def current(self) -> LocalPolicy:
        return LocalPolicy(self.settings, 1)


async def judge_at(moments: Sequence[datetime], store: Store, folder: Path, nameserver: NameServer) -> None:
    """All at the same time, as a worker does whose clock said these *moments* at the ends of the messages."""
    recorder, resolver = Recorder(store), Resolver(nameserver.address)
    handler = Handler(
        node="gateway.example",
        authserv_id=None,
        policies=Policies(settings()),
        resolver=resolver,
        recorder=recorder,
        quarantine=Quarantine(folder),
    )
    message = received(b"From: a@night.test\r\n\r\nHello\r\n")
    arrived = [replace(message, envelope=replace(message.envelope, received_at=moment)) for moment in moments]
    try:
        replies = await asyncio.gather(*map(handler.handle, arrived))
    finally:
        await recorder.close()
        await resolver.close()
    assert {type(reply) for reply in replies} == {Accept}


def test_pain_9_messages_around_midnight_are_counted_in_their_own_hour_and_utc_day(
    store: Store, tmp_path: Path, nameserver: NameServer
) -> None:
    nameserver.zone.txt("_dmarc.night.test", "v=DMARC1; p=none; rua=mailto:r@night.test")
    save(store, settings())

    asyncio.run(judge_at(MOMENTS, store, tmp_path, nameserver))

    with store.read() as connection:
        hours = dict(map(tuple, connection.execute(select(fact.c.hour, fact.c.count))))
    midnight = int(MIDNIGHT.timestamp())
    assert hours == {midnight - 3600: 2, midnight: 2, midnight + 3600: 1}
    for day, count in ((date(2026, 3, 29), 2), (date(2026, 3, 30), 3)):
        [job] = build_day(store, day, now=MIDNIGHT + 2 * timedelta(days=1))
        with store.read() as connection:
            report = read_mail(reports.message(connection, job.id) or b"")
        metadata = report["report_metadata"]
        assert sum(record["count"] for record in report["records"]) == count
        assert (metadata["begin_date"], metadata["end_date"]) == (f"{day} 00:00:00", f"{day} 23:59:59")
