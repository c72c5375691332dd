"""Looking at a quarantined message: safely, whatever it is made of."""

import base64
import time
from email.message import EmailMessage

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.quarantine import Part, view
from appliance.quarantine.text import readable
from appliance.quarantine.view import MAX_DEPTH, MAX_PARTS, MAX_TEXT_CHARACTERS


def crlf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode("utf-8", "surrogateescape")


def test_header_and_plain_text_are_shown() -> None:
    shown = view(
        crlf(
            "From: =?utf-8?q?J=C3=B6?= <j@x.example>\nSubject: =?iso-8859-1?Q?caf=E9?=\n folded\n\nHello\nthere\n"
        )
    )

    assert (shown.author, shown.subject) == ("J\u00f6 <j@x.example>", "caf\u00e9 folded")
    assert shown.fields == (
        ("From", "=?utf-8?q?J=C3=B6?= <j@x.example>"),
        ("Subject", "=?iso-8859-1?Q?caf=E9?= folded"),
    )
    assert shown.texts == ("Hello\nthere\n",)
    assert shown.parts == (Part("text/plain", "", 14, 0, shown=True),)
    assert shown.notes == ()


def test_attachments_are_named_and_never_opened() -> None:
    message = EmailMessage()
    message["Subject"] = "invoice"
    message.set_content("see the attachment")
    message.add_alternative("<script>alert(1)</script><img src=http://evil.example/x.png>", subtype="html")
    message.add_attachment(
        b"MZ" * 500, "application", "x-msdownload", filename="r\u00e9sum\u00e9\u202efdp.exe"
    )
    inner = EmailMessage()
    inner.set_content("inside")
    message.add_attachment(inner)

    shown = view(message.as_bytes().replace(b"\n", b"\r\n"))

    assert shown.texts == ("see the attachment\n",)
    assert [(part.type, part.name, part.shown) for part in shown.parts] == [
        ("text/plain", "", True),
        ("text/html", "", False),
        ("application/x-msdownload", "r\u00e9sum\u00e9\ufffdfdp.exe", False),
        ("message/rfc822", "", False),
    ]
    assert [part.depth for part in shown.attachments] == [2, 1, 1]
    assert 1300 < shown.parts[2].size_octets < 1500


def test_a_message_of_html_alone_has_no_text_to_show() -> None:
    shown = view(crlf("Content-Type: text/html\n\n<b>hi</b>\n"))

    assert shown.texts == ()
    assert shown.notes == ("the message has no plain text",)


def test_nothing_that_steers_a_terminal_or_page_gets_through() -> None:
    """T36."""
    shown = view(
        crlf("Subject: a\x1b[2Jb\u202ec\nX-\x07: \x9b31m\n\nbody\x1b]0;title\x07\u2066\n\tkept\x00\n\udcff")
    )

    everything = [shown.subject, *shown.texts, *(part for field in shown.fields for part in field)]
    assert all(char.isprintable() or char in "\n\t" for text in everything for char in text)
    assert shown.subject == "a\ufffd[2Jb\ufffdc"
    assert "\n\tkept\ufffd\n" in "".join(shown.texts)


@pytest.mark.parametrize(
    ("encoding", "body", "text"),
    [
        pytest.param("base64", base64.encodebytes("h\u00e9llo".encode()), "h\u00e9llo", id="base64"),
        pytest.param("BASE64 ", b"aGVs\r\nbG8=\r\n", "hello", id="base64 on two lines"),
        pytest.param("base64", b"%%%%", "", id="base64 that is none"),
        pytest.param("base64", b"a", "", id="base64 cut short"),
        pytest.param(
            "quoted-printable", b"h=C3=A9llo=\r\n there=ZZ", "h\u00e9llo there=ZZ", id="quoted-printable"
        ),
        pytest.param("8bit", "h\u00e9llo".encode(), "h\u00e9llo", id="8bit"),
        pytest.param("x-uuencode", b"begin", "begin", id="unknown"),
    ],
)
def test_text_is_unpacked(encoding: str, body: bytes, text: str) -> None:
    head = (
        f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode()
    )

    assert view(head + body).texts == (text,)


@pytest.mark.parametrize(
    "charset",
    ["nonsense", "idna", "punycode", "undefined", "rot13", "zlib", "hex", "unicode_escape", "raw_unicode_escape", "\x00", "utf-8'", "", "a" * 900],
)  # fmt: skip
def test_a_charset_that_is_none_is_no_trouble(charset: str) -> None:
    body = "h\u00e9llo \\u0041 \\q"

    shown = view(
        crlf(f'Content-Type: text/plain; charset="{charset}"\nSubject: =?{charset}?Q?h=C3=A9?=\n\n{body}')
    )

    assert shown.texts == (body,)
    assert shown.subject in {"h\u00e9", f"=?{charset}?Q?h=C3=A9?=".replace("\x00", "\ufffd")}


def nested(depth: int) -> str:
    text = "Content-Type: text/plain\n\nat the bottom\n"
    for level in range(depth):
        text = f"Content-Type: multipart/mixed; boundary=b{level}x\n\n--b{level}x\n{text}\n--b{level}x--\n"
    return text


def test_parts_are_followed_only_so_deep() -> None:
    shown, deep = view(crlf(nested(MAX_DEPTH))), view(crlf(nested(MAX_DEPTH + 1)))

    assert (shown.texts, shown.notes) == (("at the bottom\n",), ())
    assert (deep.texts, deep.notes[0]) == ((), f"parts more than {MAX_DEPTH} levels deep are not shown")
    assert [part.type for part in deep.parts] == ["multipart/mixed"]


def test_only_so_many_parts_are_shown() -> None:
    parts = "".join(f"--b\n\npart {n}\n" for n in range(MAX_PARTS + 50))

    shown = view(crlf(f"Content-Type: multipart/mixed; boundary=b\n\n{parts}--b--\n"))

    assert len(shown.parts) == MAX_PARTS
    assert shown.notes == (f"only the first {MAX_PARTS} parts are shown",)


def test_only_so_much_text_is_shown() -> None:
    shown = view(crlf("Subject: long\n\n" + "word " * 1_000_000))

    assert len("".join(shown.texts)) == MAX_TEXT_CHARACTERS
    assert shown.notes == ("the text is cut after 100,000 characters",)


def test_a_boundary_that_contains_itself_is_no_trap() -> None:
    text = "Content-Type: multipart/mixed; boundary=b\n\n--b\n"

    shown = view(crlf(text * 2_000))

    assert len(shown.parts) <= MAX_PARTS


def test_the_work_grows_no_faster_than_the_message() -> None:
    """Boundaries without end, in CPU time against a message of the same size that is one text."""
    plain = b"Subject: x\r\n\r\n" + b"a" * 20_000_000
    hostile = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--bb\r\n" * 3_300_000

    def cost(message: bytes) -> float:
        began = time.process_time()
        view(message)
        return time.process_time() - began

    cost(plain)

    assert cost(hostile) < 100 * cost(plain) + 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param("plain", "plain", id="nothing encoded"),
        pytest.param("=?utf-8?B?!!!?=", "", id="base64 that is none"),
        pytest.param("=?utf-8?B?YWJj=?=", "abc", id="padded too much"),
        pytest.param("=?us-ascii?Q?a=1B=5B2J?=", "a\ufffd[2J", id="steering characters inside"),
        pytest.param("=?utf-8?Q?" + "a" * 5000 + "?=", "=?utf-8?Q?" + "a" * 1990, id="too long"),
    ],
)
def test_encoded_words_are_decoded_where_that_can_be_done(value: str, text: str) -> None:
    assert readable(value) == text


LINES = st.sampled_from(
    [
        b"Content-Type: multipart/mixed; boundary=b",
        b"Content-Type: multipart/mixed; boundary=\"b\";boundary*0=c;boundary*1*=utf-8''d",
        b"Content-Type: text/plain; charset*=idna''x; name*0*=punycode''%ff",
        b"Content-Disposition: attachment; filename*=undefined''%e9; filename=\"=?x?Q?=00?=\"",
        b"Content-Transfer-Encoding: base64",
        b"Subject: =?utf-7?B?AAAA?= =?hz?Q?~{?=",
        b"--b",
        b"--b--",
        b"",
        b"\x00\xff\xfe",
        b" folded",
    ]
)


@given(st.lists(st.one_of(LINES, st.binary(max_size=30)), max_size=40).map(b"\r\n".join))
@example(b"")
@example(b"\r\n")
@example(b"Content-Type: multipart/mixed; boundary=\r\n\r\n--\r\n--\r\n")
def test_any_octets_can_be_looked_at(octets: bytes) -> None:
    shown = view(octets)

    texts = [shown.subject, shown.author, *shown.texts, *(part.name + part.type for part in shown.parts)]
    assert all(char.isprintable() or char in "\n\t" for text in texts for char in text)
