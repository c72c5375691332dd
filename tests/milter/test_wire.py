"""Frames and payloads of the milter protocol."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

import pytest

from appliance.milter.wire import (
    MAX_COMMAND_OCTETS,
    MAX_FRAME_OCTETS,
    MAX_MACRO_OCTETS,
    Client,
    FrameDecoder,
    Offer,
    ProtocolError,
    encode_frame,
    parse_connect,
    parse_header,
    parse_macros,
    parse_offer,
    parse_path,
    parse_text,
)


def test_frames_come_out_of_one_read_together() -> None:
    decoder = FrameDecoder()

    frames = decoder.feed(encode_frame(ord("H"), b"a\0") + encode_frame(ord("A")) + encode_frame(ord("Q")))

    assert frames == [(ord("H"), b"a\0"), (ord("A"), b""), (ord("Q"), b"")]


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_frame_may_be_cut_anywhere(cut: int) -> None:
    octets = encode_frame(ord("H"), b"abcdef\0")
    decoder = FrameDecoder()

    first, second = decoder.feed(octets[:cut]), decoder.feed(octets[cut:])

    assert (first, second) == ([], [(ord("H"), b"abcdef\0")])


def test_a_frame_of_the_greatest_length_passes() -> None:
    payload = bytes(MAX_FRAME_OCTETS - 1)

    [frame] = FrameDecoder().feed(encode_frame(ord("B"), payload))

    assert frame == (ord("B"), payload)


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"\0\0\0\0A", id="empty"),
        pytest.param((MAX_FRAME_OCTETS + 1).to_bytes(4, "big") + b"B", id="above the limit"),
        pytest.param(b"\xff\xff\xff\xffB", id="greatest number"),
        pytest.param(b"GET / HTTP/1.1\r\n", id="another protocol"),
    ],
)
def test_a_bad_length_is_refused_before_its_octets_arrive(start: bytes) -> None:
    with pytest.raises(ProtocolError):
        FrameDecoder().feed(start)


@pytest.mark.parametrize(
    ("payload", "client"),
    [
        pytest.param(
            b"mail.example.org\x004\x12\x34192.0.2.1\0",
            Client("mail.example.org", IPv4Address("192.0.2.1"), 0x1234),
            id="IPv4",
        ),
        pytest.param(b"a\x006\0\x192001:db8::1\0", Client("a", IPv6Address("2001:db8::1"), 25), id="IPv6"),
        pytest.param(
            b"a\x006\0\x19IPv6:2001:db8::1\0",
            Client("a", IPv6Address("2001:db8::1"), 25),
            id="IPv6 with its tag",
        ),
        pytest.param(
            b"a\x006\0\x19fe80::1%eth0\0", Client("a", IPv6Address("fe80::1"), 25), id="IPv6 with a zone"
        ),
        pytest.param(
            b"a\x006\0\x19::ffff:192.0.2.1\0", Client("a", IPv4Address("192.0.2.1"), 25), id="SPF-13 mapped"
        ),
        pytest.param(b"a\x004\0\x00192.0.2.1\0", Client("a", IPv4Address("192.0.2.1"), None), id="no port"),
        pytest.param(b"localhost\0L\0\0/run/x\0", Client("localhost", None, None), id="Unix socket"),
        pytest.param(b"unknown\0U", Client("unknown", None, None), id="unknown"),
        pytest.param(b"a\0Z\0\0what\0", Client("a", None, None), id="a family of the future"),
    ],
)
def test_a_client_is_read(payload: bytes, client: Client) -> None:
    assert parse_connect(payload) == client


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"name", id="no end of the name"),
        pytest.param(b"name\0", id="no family"),
        pytest.param(b"name\x004\0", id="half a port"),
        pytest.param(b"name\x004\0\x19192.0.2.1", id="no end of the address"),
        pytest.param(b"name\x004\0\x19\0", id="no address"),
        pytest.param(b"name\x004\0\x19192.0.2.256\0", id="bad IPv4"),
        pytest.param(b"name\x006\0\x19::g\0", id="bad IPv6"),
        pytest.param(b"name\x004\0\x19\xff\xfe\0", id="not ASCII"),
    ],
)
def test_a_malformed_client_is_a_protocol_error(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_connect(payload)


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        pytest.param(b"<a@example.org>\0", ("a@example.org", ()), id="address"),
        pytest.param(b"<>\0", ("", ()), id="null reverse path"),
        pytest.param(b"\0", ("", ()), id="null reverse path as cleanup(8) gives it"),
        pytest.param(b"a@example.org\0", ("a@example.org", ()), id="no brackets"),
        pytest.param(b"<@r.example:a@b.example>\0", ("@r.example:a@b.example", ()), id="source route"),
        pytest.param(
            b"<a@b>\0SIZE=12\0BODY=8BITMIME\0", ("a@b", ("SIZE=12", "BODY=8BITMIME")), id="ESMTP parameters"
        ),
        pytest.param("<jü@b>\0".encode(), ("jü@b", ()), id="UTF-8"),
        pytest.param(b"<j\xfc@b>\0", ("j\udcfc@b", ()), id="not UTF-8"),
    ],
)
def test_a_path_is_read(payload: bytes, path: tuple[str, tuple[str, ...]]) -> None:
    assert parse_path(payload) == path


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        pytest.param(b"Subject\0 x\0", (b"Subject", b" x"), id="leading space"),
        pytest.param(b"Subject\0x\0", (b"Subject", b"x"), id="no leading space"),
        pytest.param(b"Subject\0\tx\n y\n\tz\0", (b"Subject", b"\tx\r\n y\r\n\tz"), id="folds"),
        pytest.param(b"Subject\0 x\r\n y\0", (b"Subject", b" x\r\r\n y"), id="a stray CR stays where it was"),
        pytest.param(b"Subject\0\0", (b"Subject", b""), id="empty"),
        pytest.param(b"X-\xe4\0 x\0", None, id="name not ASCII"),
        pytest.param(b"X Y\0 x\0", None, id="space in the name"),
        pytest.param(b"X:\0 x\0", None, id="colon in the name"),
        pytest.param(b"\0 x\0", None, id="no name"),
        pytest.param(b"Subject\0 x", None, id="no end"),
        pytest.param(b"Subject", None, id="no value"),
        pytest.param(b"Subject\0 x\0y\0", None, id="NUL in the value"),
        pytest.param(b"", None, id="nothing"),
    ],
)
def test_a_header_field_is_read(payload: bytes, field: tuple[bytes, bytes] | None) -> None:
    if field is None:
        with pytest.raises(ProtocolError):
            parse_header(payload)
    else:
        assert parse_header(payload) == field


def test_macros_are_read() -> None:
    assert parse_macros(b"Ti\x004ZqK1\0{auth_authen}\0\0") == {b"i": b"4ZqK1", b"{auth_authen}": b""}
    assert parse_macros(b"M") == {}


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"Ti\0", id="no value"),
        pytest.param(b"Ti\x004ZqK1", id="no end"),
        pytest.param(b"T" + b"a\0b\0" * (MAX_MACRO_OCTETS // 4), id="too many"),
    ],
)
def test_malformed_macros_are_a_protocol_error(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_macros(payload)


def test_an_offer_is_read_and_may_be_longer_than_we_know() -> None:
    assert parse_offer(bytes(3) + b"\6" + bytes(3) + b"\x11" + bytes(3) + b"\x80more") == Offer(6, 0x11, 0x80)


def test_half_an_offer_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError):
        parse_offer(bytes(11))


@pytest.mark.parametrize("payload", [b"", b"a", b"a\0b\0"])
def test_a_payload_of_one_string_has_exactly_one(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_text(payload)


@pytest.mark.parametrize("parse", [parse_connect, parse_text, parse_path])
def test_t42_a_command_longer_than_any_line_is_refused(parse: Callable[[bytes], object]) -> None:
    payload = b"a" * MAX_COMMAND_OCTETS + b"\0U\0"

    with pytest.raises(ProtocolError, match="octets"):
        parse(payload)
