"""F16: what a worker holds is bounded, large messages get through one after another, and behind all that is a wall."""

import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from appliance.lab.nameserver import NameServer
from tests.filter.client import MilterClient
from tests.filter.conftest import RunningFilter, Start, enable_verification

pytestmark = [pytest.mark.system, pytest.mark.timeout(280)]

LINE = b"two  spaces \t and more\r\n"
MEGABYTE = 1_000_000
MOST_MEGABYTES = 256
FIELDS = [
    *(
        (
            b"DKIM-Signature",
            b" v=1; a=rsa-sha256; c=relaxed/%s; d=example.org; s=s; h=from; bh=YWJj; b=YWJj" % form,
        )
        for form in (b"relaxed", b"simple")
    ),
    (b"From", b" a@example.org"),
]
"""Both forms of the body have to be made: for the hashes that the signatures claim."""


def publish(nameserver: NameServer) -> None:
    public = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    nameserver.zone.txt("s._domainkey.example.org", b"v=DKIM1; p=" + base64.b64encode(der))
    nameserver.zone.txt("_dmarc.example.org", "v=DMARC1; p=none")


@pytest.fixture
def judging(start_filter: Start, nameserver: NameServer, tmp_path: Path) -> RunningFilter:
    """One worker that checks signatures."""
    publish(nameserver)
    url = f"sqlite:///{tmp_path}/judging.db"
    enable_verification(url)
    return start_filter("--workers", "1", "--resolver", nameserver.address, "--store", url)


def send(running: RunningFilter, body: bytes) -> bytes:
    with MilterClient(running.socket_path, seconds=200) as client:
        client.begin()
        client.fields(*FIELDS)
        client.body(body)
        return client.end()


def most_megabytes(running: RunningFilter) -> float:
    """Of resident memory, at any time so far."""
    (worker,) = running.workers
    status = Path(f"/proc/{worker}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1000


def test_f16_large_messages_on_many_connections_stay_within_the_cap(
    judging: RunningFilter, long_run: bool
) -> None:
    body = LINE * (10 * MEGABYTE // len(LINE))
    connections = 100 if long_run else 40

    with ThreadPoolExecutor(connections) as pool:
        replies = list(pool.map(lambda _: send(judging, body), range(connections)))

    assert replies == [b"c"] * connections
    assert judging.log.count("result=fail") == connections
    assert most_megabytes(judging) < MOST_MEGABYTES


def test_f16_a_message_of_the_size_limit_is_judged(judging: RunningFilter) -> None:
    before = judging.workers

    reply = send(judging, LINE * (50 * MEGABYTE // len(LINE)))

    assert reply == b"c"
    assert "result=fail" in judging.log
    assert judging.workers == before


def test_f16_a_message_beyond_all_limits_is_refused_and_not_kept(judging: RunningFilter) -> None:
    chunk = LINE * (10 * MEGABYTE // len(LINE))

    with MilterClient(judging.socket_path) as client:
        client.begin()
        client.fields(*FIELDS)
        client.body(b"")
        for _ in range(14):
            client.chunks(chunk)
        reply = client.end()
        client.begin()
        client.fields(*FIELDS)
        client.body(b"Hello\r\n")
        after = client.end()

    assert reply.startswith(b"y552 5.3.4")
    assert after == b"c"


def test_f16_a_worker_at_the_wall_ends_and_is_replaced(start_filter: Start) -> None:
    running = start_filter("--workers", "1", limits={"data_octets": 200 << 20})
    (before,) = running.workers

    with MilterClient(running.socket_path) as client:
        client.begin("memory-rcpt@example.org")
        reply = client.read()

    assert reply == b""
    running.wait_for(lambda: running.workers not in (set(), {before}), "another worker")
    assert "out-of-memory" in running.log
    with MilterClient(running.socket_path) as client:
        client.begin()
        client.fields(*FIELDS)
        client.body(b"")
        assert client.end() == b"c"
