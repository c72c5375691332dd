import hashlib

import pytest
from dkim.canonicalization import Relaxed, Simple
from hypothesis import assume, given
from hypothesis import strategies as st

from appliance.checks.canonical import (
    Canonicalization,
    CanonicalMessage,
    relaxed_body,
    relaxed_field,
    simple_body,
)
from tests.checks.mails import received

PIECES = st.sampled_from(
    [b" ", b"  ", b"\t", b"\r\n", b"\r\n\r\n", b"a", b"b \r\n", b"\r", b"\n", b"\x0b", b"\x0c"]
)
BODIES = st.lists(PIECES, max_size=12).map(b"".join)
FOLDED = st.lists(st.sampled_from([b" ", b"\t", b"  ", b"\r\n ", b"\r\n\t", b"a", b"B"]), max_size=10).map(
    b"".join
)


@given(BODIES)
def test_simple_bodies_are_dkimpys(body: bytes) -> None:
    assert simple_body(body) == Simple.canonicalize_body(body)


@given(BODIES)
def test_relaxed_bodies_are_dkimpys(body: bytes) -> None:
    assume(not body.endswith((b" ", b"\t")))  # in a last line without line end dkimpy leaves a space

    assert relaxed_body(body) == Relaxed.canonicalize_body(body)


@given(FOLDED)
def test_relaxed_fields_are_dkimpys(value: bytes) -> None:
    [(name, canonical)] = Relaxed.canonicalize_headers([(b"SubJect", value)])

    assert relaxed_field(b"SubJect", value) + b"\r\n" == name + b":" + canonical


@pytest.mark.parametrize(
    ("body", "simple", "relaxed"),
    [
        pytest.param(b"", b"\r\n", b"", id="empty body"),
        pytest.param(b"\r\n\r\n", b"\r\n", b"", id="empty lines only"),
        pytest.param(b" \r\n", b" \r\n", b"", id="white space only"),
        pytest.param(b"a", b"a\r\n", b"a\r\n", id="no line end"),
        pytest.param(b"a \t", b"a \t\r\n", b"a\r\n", id="no line end after white space"),
        pytest.param(b"a\r\n\r\n\r\n", b"a\r\n", b"a\r\n", id="empty lines at the end"),
        pytest.param(b"\r\n\r\na\r\n", b"\r\n\r\na\r\n", b"\r\n\r\na\r\n", id="empty lines at the start"),
    ],
)
def test_bodies_at_the_edge(body: bytes, simple: bytes, relaxed: bytes) -> None:
    assert simple_body(body) == simple
    assert relaxed_body(body) == relaxed


def test_the_example_of_rfc_6376_section_3_4_5() -> None:
    message = received(b"A: X\r\nB : Y\t\r\n\tZ  \r\n\r\n C \r\nD \t E\r\n\r\n\r\n")
    canonical = CanonicalMessage(message)

    assert [canonical.relaxed(place) for place in range(2)] == [b"a:X", b"b:Y Z"]
    assert relaxed_body(message.body) == b" C\r\nD E\r\n"
    assert simple_body(message.body) == b" C \r\nD \t E\r\n"


def test_fields_are_taken_from_below_and_each_once() -> None:
    """DKIM-10."""
    canonical = CanonicalMessage(received(b"X: 3\r\nY: y\r\nX: 2\r\nX: 1\r\n\r\n"))
    names = (b"x", b"y", b"x", b"none", b"y")

    relaxed = canonical.signed_fields(Canonicalization.RELAXED, names, own_place=99)
    simple = canonical.signed_fields(Canonicalization.SIMPLE, names, own_place=99)

    assert relaxed == b"x:1\r\ny:y\r\nx:2\r\n"
    assert simple == b"X: 1\r\nY: y\r\nX: 2\r\n"


def test_a_signature_never_selects_itself() -> None:
    canonical = CanonicalMessage(received(b"X: own\r\nX: old\r\n\r\n"))

    assert canonical.signed_fields(Canonicalization.RELAXED, (b"x", b"x"), own_place=0) == b"x:old\r\n"


def test_body_hashes_cover_as_much_as_is_asked() -> None:
    canonical = CanonicalMessage(received(b"A: b\r\n\r\nabc \r\n"))

    assert canonical.body_hash(Canonicalization.RELAXED, None) == hashlib.sha256(b"abc\r\n").digest()
    assert canonical.body_hash(Canonicalization.SIMPLE, None) == hashlib.sha256(b"abc \r\n").digest()
    assert canonical.body_hash(Canonicalization.RELAXED, 2) == hashlib.sha256(b"ab").digest()
    assert canonical.body_octets(Canonicalization.RELAXED) == 5


def test_t11_a_body_is_hashed_once_for_each_form_and_length() -> None:
    canonical = CanonicalMessage(received(b"A: b\r\n\r\nabc  d\r\n"))
    asked = [(form, length) for form in Canonicalization for length in (None, 0, 3, 5)]

    first = [canonical.body_hash(form, length) for form, length in asked]
    second = [canonical.body_hash(form, length) for form, length in asked]

    assert all(one is other for one, other in zip(first, second, strict=True))
