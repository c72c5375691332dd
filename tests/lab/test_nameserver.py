"""The lab's name server, asked by dnspython's resolver and by raw messages."""

import socket
import threading
from collections.abc import Iterator

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.resolver
import pytest

from appliance.lab.nameserver import Behaviour, Crafted, NameServer, Query, Slow, Zone
from appliance.lab.ports import PortBusy

ZONE = """
$ORIGIN example.org.
$TTL 300
@           SOA   ns hostmaster 1 3600 600 86400 300
            NS    ns
            MX    10 mx
            A     192.0.2.1
            AAAA  2001:db8::1
mx          A     192.0.2.2
alias       CNAME mx
a.b.deep    TXT   "below two empty names"
*.wild      TXT   "any"
1.2.0.192.in-addr.arpa. PTR example.org.
"""


@pytest.fixture
def server() -> Iterator[NameServer]:
    with NameServer(ZONE) as running:
        yield running


@pytest.fixture
def resolver(server: NameServer) -> dns.resolver.Resolver:
    made = dns.resolver.Resolver(configure=False)
    made.nameservers, made.port, made.lifetime = ["127.0.0.1"], server.port, 3.0
    return made


def ask(server: NameServer, name: str, record_type: str = "TXT", *, edns: bool = True) -> dns.message.Message:
    query = dns.message.make_query(name, record_type, use_edns=edns, payload=1232 if edns else None)
    return dns.query.udp(query, "127.0.0.1", 3, server.port, ignore_unexpected=False)


@pytest.mark.parametrize(
    ("name", "record_type", "values"),
    [
        ("example.org", "A", ["192.0.2.1"]),
        ("example.org", "AAAA", ["2001:db8::1"]),
        ("example.org", "MX", ["10 mx.example.org."]),
        ("example.org", "NS", ["ns.example.org."]),
        ("example.org", "SOA", ["ns.example.org. hostmaster.example.org. 1 3600 600 86400 300"]),
        ("a.b.deep.example.org", "TXT", ['"below two empty names"']),
        ("1.2.0.192.in-addr.arpa", "PTR", ["example.org."]),
        ("alias.example.org", "CNAME", ["mx.example.org."]),
        ("alias.example.org", "A", ["192.0.2.2"]),
        ("x.y.wild.example.org", "TXT", ['"any"']),
    ],
)
def test_records_of_a_master_file_are_answered(
    resolver: dns.resolver.Resolver, name: str, record_type: str, values: list[str]
) -> None:
    assert [str(record) for record in resolver.resolve(name, record_type)] == values


@pytest.mark.parametrize(
    ("name", "record_type", "rcode"),
    [
        pytest.param("nobody.example.org", "A", "NXDOMAIN", id="no such name"),
        pytest.param("example.org", "TXT", "NOERROR", id="no such record"),
        pytest.param("b.deep.example.org", "TXT", "NOERROR", id="empty between other names"),
        pytest.param("x.wild.example.org", "A", "NOERROR", id="wildcard of another type"),
        pytest.param("wild.example.org", "TXT", "NOERROR", id="the name above a wildcard"),
        pytest.param("x.a.b.deep.example.org", "TXT", "NXDOMAIN", id="below a name that exists"),
    ],
)
def test_a_missing_name_and_a_name_without_data_differ(
    server: NameServer, name: str, record_type: str, rcode: str
) -> None:
    response = ask(server, name, record_type)

    assert dns.rcode.to_text(response.rcode()) == rcode
    assert not response.answer
    assert response.authority[0].rdtype == dns.rdatatype.SOA


def test_the_case_of_the_question_is_kept(server: NameServer) -> None:
    response = ask(server, "eXaMpLe.OrG", "A")

    assert str(response.question[0].name) == "eXaMpLe.OrG."
    assert str(response.answer[0].name) == "eXaMpLe.OrG."


def test_records_can_be_changed_while_they_are_served(
    server: NameServer, resolver: dns.resolver.Resolver
) -> None:
    server.zone.txt("_dmarc.example.org", "v=DMARC1; p=none")
    first = resolver.resolve("_dmarc.example.org", "TXT")[0]

    server.zone.txt("_dmarc.example.org", "v=DMARC1; p=reject")

    assert (str(first), str(resolver.resolve("_dmarc.example.org", "TXT")[0])) == (
        '"v=DMARC1; p=none"',
        '"v=DMARC1; p=reject"',
    )
    server.zone.remove("_dmarc.example.org")
    assert ask(server, "_dmarc.example.org").rcode() == dns.rcode.NXDOMAIN


def test_each_helper_makes_its_records(server: NameServer, resolver: dns.resolver.Resolver) -> None:
    zone = server.zone
    zone.a("new.example", "192.0.2.3", "192.0.2.4")
    zone.aaaa("new.example", "2001:db8::3")
    zone.mx("new.example", "one.example", "two.example")
    zone.ns("new.example", "ns.example")
    zone.ptr("3.2.0.192.in-addr.arpa", "new.example")
    zone.cname("alias.example", "new.example")
    zone.set("null.example", "MX", "0 .")

    assert sorted(map(str, resolver.resolve("alias.example", "A"))) == ["192.0.2.3", "192.0.2.4"]
    assert sorted(map(str, resolver.resolve("new.example", "MX"))) == ["10 one.example.", "20 two.example."]
    assert str(resolver.resolve("new.example", "AAAA")[0]) == "2001:db8::3"
    assert str(resolver.resolve("new.example", "NS")[0]) == "ns.example."
    assert str(resolver.resolve("3.2.0.192.in-addr.arpa", "PTR")[0]) == "new.example."
    assert str(resolver.resolve("null.example", "MX")[0]) == "0 ."


def test_a_long_text_is_cut_into_strings_and_comes_whole_over_tcp(
    server: NameServer, resolver: dns.resolver.Resolver
) -> None:
    server.zone.txt("key.example", "k" * 5000)

    [record] = resolver.resolve("key.example", "TXT")

    assert b"".join(record.strings) == b"k" * 5000
    assert max(map(len, record.strings)) == 255
    assert [query.transport for query in server.queries] == ["udp", "tcp"]


def test_without_edns_an_answer_over_udp_has_at_most_512_octets(server: NameServer) -> None:
    server.zone.txt("key.example", "k" * 800)

    response = ask(server, "key.example", edns=False)

    assert response.flags & dns.flags.TC
    assert len(response.to_wire()) <= 512


@pytest.mark.parametrize("behaviour", [Behaviour.SERVFAIL, Behaviour.REFUSED, Behaviour.FORMERR])
def test_a_name_can_be_answered_with_an_error(server: NameServer, behaviour: Behaviour) -> None:
    server.zone.misbehave("example.org", behaviour)

    assert dns.rcode.to_text(ask(server, "example.org").rcode()).lower() == behaviour


def test_misbehaviour_may_concern_one_type_and_be_taken_back(server: NameServer) -> None:
    server.zone.misbehave("example.org", Behaviour.SERVFAIL, "TXT")

    assert ask(server, "example.org", "TXT").rcode() == dns.rcode.SERVFAIL
    assert ask(server, "example.org", "A").rcode() == dns.rcode.NOERROR
    server.zone.behave("example.org", "TXT")
    assert ask(server, "example.org", "TXT").rcode() == dns.rcode.NOERROR


def test_a_silent_name_is_never_answered(server: NameServer) -> None:
    server.zone.misbehave("example.org", Behaviour.SILENCE)
    query = dns.message.make_query("example.org", "A")

    with pytest.raises(dns.exception.Timeout):
        dns.query.udp(query, "127.0.0.1", 0.3, server.port)

    assert server.queries == (Query("example.org", "A", "udp"),)


@pytest.mark.parametrize("behaviour", [Behaviour.GARBAGE, Behaviour.WRONG_ID])
def test_an_unusable_answer_is_noticed(server: NameServer, behaviour: Behaviour) -> None:
    server.zone.misbehave("example.org", behaviour)

    with pytest.raises((dns.exception.FormError, dns.query.BadResponse)):
        ask(server, "example.org", "A")


def test_a_truncated_answer_never_comes_over_tcp(server: NameServer) -> None:
    server.zone.misbehave("example.org", Behaviour.TRUNCATED)
    query = dns.message.make_query("example.org", "A")

    assert dns.query.udp(query, "127.0.0.1", 3, server.port).flags & dns.flags.TC
    with pytest.raises(EOFError):
        dns.query.tcp(query, "127.0.0.1", 3, server.port)


def test_an_answer_can_be_truncated_over_tcp_too(server: NameServer) -> None:
    server.zone.misbehave("example.org", Behaviour.TRUNCATED_EVERYWHERE)
    query = dns.message.make_query("example.org", "A")

    for by in (dns.query.udp, dns.query.tcp):
        response = by(query, "127.0.0.1", 3, server.port)
        assert response.flags & dns.flags.TC
        assert not response.answer


def test_an_answer_can_be_crafted_for_each_transport(server: NameServer) -> None:
    server.zone.misbehave(
        "example.org",
        Crafted(lambda transport, right: None if transport == "tcp" else right[:8] + b"\0\0" + right[10:]),
    )
    query = dns.message.make_query("example.org", "A", use_edns=True)

    with pytest.raises(dns.exception.DNSException):
        dns.query.udp(query, "127.0.0.1", 3, server.port)  # its last record is not counted
    with pytest.raises(dns.exception.Timeout):
        dns.query.tcp(query, "127.0.0.1", 0.1, server.port)


def test_a_forged_answer_can_come_before_the_right_one(server: NameServer) -> None:
    server.zone.misbehave("example.org", Behaviour.FORGED_FIRST)
    query = dns.message.make_query("example.org", "A")

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect(("127.0.0.1", server.port))
        client.send(query.to_wire())
        forged, right = (dns.message.from_wire(client.recv(1232)) for _ in range(2))

    assert forged.id != query.id == right.id
    assert forged.question == query.question
    assert (bool(forged.answer), bool(right.answer)) == (False, True)


def test_answers_can_be_held_back_until_they_are_released(server: NameServer) -> None:
    queries = [dns.message.make_query(name, "A") for name in ("example.org", "mx.example.org")]

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", server.port))
        server.hold()
        for query in queries:
            client.send(query.to_wire())
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.recv(1232)
        server.release()
        client.settimeout(5)
        answered = [dns.message.from_wire(client.recv(1232)).id for _ in queries]

    assert answered == [query.id for query in queries]


def test_a_server_that_holds_answers_back_can_be_stopped(server: NameServer) -> None:
    server.hold()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(dns.message.make_query("example.org", "A").to_wire(), ("127.0.0.1", server.port))

    server.stop()

    server.start()
    assert ask(server, "example.org", "A").answer


def test_the_zone_says_how_long_its_answers_may_be_kept() -> None:
    zone = Zone("in.example. TXT x\nown.example. 7 TXT x", ttl_seconds=30)
    zone.txt("set.example", "x")

    with NameServer(zone) as server:
        ttls = [ask(server, f"{name}.example").answer[0].ttl for name in ("in", "own", "set")]
        [nothing] = ask(server, "no.example").authority

    assert ttls == [30, 7, 30]
    assert (nothing.ttl, nothing[0].minimum) == (30, 30)


def test_a_loop_of_aliases_is_noticed(server: NameServer, resolver: dns.resolver.Resolver) -> None:
    server.zone.misbehave("example.org", Behaviour.CNAME_LOOP)

    with pytest.raises(dns.exception.DNSException):
        resolver.resolve("example.org", "A")


def test_a_loop_of_aliases_in_the_zone_ends(server: NameServer) -> None:
    server.zone.cname("one.example", "two.example")
    server.zone.cname("two.example", "one.example")

    assert {rrset.rdtype for rrset in ask(server, "one.example", "A").answer} == {dns.rdatatype.CNAME}


def test_a_slow_name_is_answered_after_the_others(server: NameServer) -> None:
    server.zone.misbehave("example.org", Slow(0.3))
    slow, fast = (dns.message.make_query(name, "A") for name in ("example.org", "mx.example.org"))

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect(("127.0.0.1", server.port))
        client.send(slow.to_wire())
        client.send(fast.to_wire())
        answered = [dns.message.from_wire(client.recv(1232)).id for _ in range(2)]

    assert answered == [fast.id, slow.id]


def test_queries_are_logged_and_counted(server: NameServer) -> None:
    for _ in range(2):
        ask(server, "EXAMPLE.org", "A")
    ask(server, "example.org", "MX")

    assert server.queries[-1] == Query("example.org", "MX", "udp")
    assert (server.count("example.org."), server.count("example.org", "A"), server.count()) == (3, 2, 3)
    server.forget_queries()
    assert (server.queries, server.count()) == ((), 0)


def test_several_queries_share_a_tcp_connection_in_any_pieces(server: NameServer) -> None:
    queries = [dns.message.make_query(name, "A") for name in ("example.org", "mx.example.org")]
    octets = b"".join(len(q.to_wire()).to_bytes(2, "big") + q.to_wire() for q in queries)

    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=5) as client,
        client.makefile("rb") as answers,
    ):
        for at in range(0, len(octets), 7):
            client.sendall(octets[at : at + 7])
        ids = [
            dns.message.from_wire(answers.read(int.from_bytes(answers.read(2), "big"))).id for _ in queries
        ]

    assert ids == [q.id for q in queries]


@pytest.mark.parametrize(
    "octets", [b"", b"\0", b"\xff" * 40, b"\0" * 12], ids=["empty", "short", "garbage", "no question"]
)
def test_what_is_no_query_is_ignored(server: NameServer, octets: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(octets, ("127.0.0.1", server.port))

    assert ask(server, "example.org", "A").answer


def test_a_zone_of_some_thousand_names_is_served_to_many_at_once() -> None:
    text = "\n".join(f'n{i}.example. TXT "{i}"' for i in range(5000))
    wrong: list[int] = []

    def client(numbers: range) -> None:
        for i in numbers:
            [answer] = ask(big, f"n{i}.example").answer
            if str(answer[0]) != f'"{i}"':
                wrong.append(i)

    with NameServer(text) as big:
        clients = [threading.Thread(target=client, args=(range(start, 5000, 40),)) for start in range(4)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()

    assert not wrong
    assert big.count() == 4 * 125


def test_a_mistake_in_a_master_file_is_refused_with_its_place() -> None:
    with pytest.raises(ValueError, match=r"zone:[23]: "):
        Zone("example.org. A 192.0.2.1\nexample.org. A 192.0.2.999\n")


def test_a_busy_port_is_named(server: NameServer) -> None:
    with pytest.raises(
        PortBusy, match=f"port {server.port} of 127.0.0.1, wanted for the name server, is in use"
    ):
        NameServer(port=server.port).start()


def test_a_stopped_server_frees_its_port_and_can_start_again(server: NameServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)):
        server.stop()

    server.start()

    assert ask(server, "example.org", "A").answer
