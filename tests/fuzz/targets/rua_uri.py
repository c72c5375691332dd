"""A report URI: no address, or one that can stand in an SMTP command, a header field and a report as it is."""

from urllib.parse import quote

from appliance.dmarc.record import parse_record
from reporting.mailto import InvalidUri, parse_mailto, parse_mailtos
from tests.fuzz.material import in_our_words, text_of

WORDS = 'mailto:|MAILTO:|%40|%0D%0A|%22|%2C|%C3%A9|?subject=|!10m|@|xn--|\\|"'


def target(data: bytes) -> None:
    check(text_of(data))
    check("mailto:" + text_of(data))
    addresses, problems = parse_mailtos(text_of(data).split(","))
    assert all(problem.isascii() for problem in problems)
    assert len(set(addresses)) == len(addresses)
    record = parse_record(b"v=DMARC1; p=none; rua=" + data)
    for uri in record.rua if record else ():
        check(uri)


def check(uri: str) -> None:
    try:
        address = parse_mailto(uri)
    except InvalidUri as invalid:
        in_our_words(invalid)
        return
    text = str(address)
    assert text.isascii()
    assert text.isprintable()
    assert not {"<", ">", " "} & set(address.domain)
    assert len(text) <= 254
    again = f"mailto:{quote(address.local_part, safe='')}@{address.domain}"
    assert parse_mailto(again) == address
