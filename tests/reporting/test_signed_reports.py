"""Reports leave with the signatures of their From domain's active keys, for each destination its own (AGG-34)."""

from datetime import timedelta

import dkim
import pytest

from appliance.lab.nameserver import NameServer
from appliance.store import keys
from appliance.store.engine import Store
from appliance.store.keys import Algorithm, PublicKey
from reporting.jobs import build_day, send_pending
from reporting.key_records import activate_published
from tests.reporting.samples import DAY, NEXT_MORNING, ROW, count, save, settings
from tests.reporting.sink import Sink, StartSink

DOMAIN = "gateway.test"  # of the report address in the samples


def in_use(store: Store, nameserver: NameServer, *algorithms: Algorithm) -> list[PublicKey]:
    made = [
        keys.generate(store, DOMAIN, algorithm, actor="ann", now=NEXT_MORNING - timedelta(days=9))
        for algorithm in algorithms
    ]
    for key in made:
        nameserver.zone.txt(key.record_name, key.record)
    assert activate_published(store, nameserver.address, NEXT_MORNING - timedelta(days=9)) == made
    return made


def report(store: Store, nameserver: NameServer, sink: Sink, *destinations: str) -> None:
    save(store, settings())
    count(store, ROW)
    rua = ",".join(f"mailto:{address}" for address in destinations)
    nameserver.zone.txt("_dmarc.bank.test", f"v=DMARC1; p=reject; rua={rua}")
    assert len(build_day(store, DAY, now=NEXT_MORNING)) == 1
    send_pending(store, nameserver=nameserver.address, listener=sink.place, now=NEXT_MORNING)


def verified(octets: bytes, made: list[PublicKey]) -> list[bool]:
    """What dkimpy says to each signature, the topmost first."""
    records = {f"{key.record_name}.": key.record.encode() for key in made}

    def txt(name: bytes, timeout: float = 5) -> bytes | None:
        return records.get(name.decode())

    signatures = octets.count(b"DKIM-Signature:")
    return [dkim.DKIM(octets).verify(idx=number, dnsfunc=txt) for number in range(signatures)]


@pytest.mark.parametrize(
    "algorithms",
    [
        pytest.param([Algorithm.RSA], id="rsa"),
        pytest.param([Algorithm.RSA, Algorithm.ED25519], id="rsa and ed25519"),
        pytest.param([], id="no key"),
    ],
)
def test_agg_34_each_destination_gets_its_copy_signed_by_every_active_key_with_its_to(
    sqlite_store: Store, nameserver: NameServer, start_sink: StartSink, algorithms: list[Algorithm]
) -> None:
    made, sink = in_use(sqlite_store, nameserver, *algorithms), start_sink()

    report(sqlite_store, nameserver, sink, "a@bank.test", "b@bank.test")

    taken = sink.taken()
    assert [copy.recipient for copy in taken] == ["a@bank.test", "b@bank.test"]
    for copy in taken:
        assert f"\r\nTo: {copy.recipient}\r\n".encode() in b"\r\n" + copy.octets
        assert verified(copy.octets, made) == [True] * len(algorithms)


def test_a_key_that_is_not_published_signs_no_report(
    sqlite_store: Store, nameserver: NameServer, start_sink: StartSink
) -> None:
    [active] = in_use(sqlite_store, nameserver, Algorithm.RSA)
    keys.rotate(sqlite_store, DOMAIN, actor="ann", now=NEXT_MORNING)
    sink = start_sink()

    report(sqlite_store, nameserver, sink, "a@bank.test")

    [copy] = sink.taken()
    assert f"s={active.selector};".encode() in copy.octets
    assert copy.octets.count(b"DKIM-Signature:") == 1
