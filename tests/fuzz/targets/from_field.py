"""A From field: it gives Author Domains, or says in our words why not."""

from appliance.mail.author import MAX_DOMAINS, author_of, find_author
from appliance.mail.domain import to_a_label
from appliance.mail.message import HeaderField, Message
from tests.fuzz.material import message_of

WORDS = '=?utf-8?q?|?=|\r\n |@|<|>|(|)|"|\\|[192.0.2.1]|:|;|xn--|.|é'

_EMPTY = message_of(b"", mail_from="")


def target(data: bytes) -> None:
    author = author_of(data)

    assert bool(author.domains) is not bool(author.unusable)
    assert author.unusable.isascii()
    assert len(author.domains) <= MAX_DOMAINS
    for domain in author.domains:
        assert to_a_label(domain) == domain
    found = find_author(Message(_EMPTY.envelope, (HeaderField(b"From", data),), b""))
    assert found.unusable or found == author
