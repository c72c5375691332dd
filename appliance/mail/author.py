"""Find the Author Domains: whom a message claims to be from (RFC 5322 section 3.6.2, RFC 9989 section 5.3.1).

Strict on purpose. A From field that mail programs could read in two ways is unusable, never half read.
"""

from dataclasses import dataclass
from itertools import islice

from appliance.mail.domain import InvalidDomain, is_domain, to_a_label
from appliance.mail.message import Message, is_field_name
from appliance.mail.tokens import Kind, NotStructured, Token, tokens

MAX_DOMAINS = 5  # evaluated for one message (FROM-05)
MAX_ADDRESSES = 1000
MAX_TOKENS = (
    10 * MAX_ADDRESSES
)  # in one From field; bounds the work where 64 kB hold nothing but punctuation (T43)
MAX_FROM_OCTETS = 64 * 1024
MAX_HEADER_OCTETS = 256 * 1024  # the whole header block (FROM-14)


@dataclass(frozen=True, slots=True)
class Author:
    """The Author Domains of a message, or why there are none that can be used."""

    domains: tuple[str, ...] = ()
    """Distinct, in the order of the From field; at most ``MAX_DOMAINS``; empty exactly when *unusable*."""
    unusable: str = ""
    """Why the From field can't be used, in our words (printable ASCII); ``""`` when it can."""
    incomplete: bool = False
    """There are more Author Domains than *domains* holds."""
    trailing_dot: bool = False
    """A domain was written with a dot at its end."""


def find_author(message: Message) -> Author:
    """The Author Domains of *message*. Sender, Resent-From and display names never count."""
    if _is_malformed(message):
        return Author(unusable="malformed header")
    found = message.fields_named("from")
    if not found:
        return Author(unusable="no From field")
    if len(found) > 1:
        return Author(unusable="several From fields")
    return author_of(found[0].value)


def author_of(value: bytes) -> Author:
    """The Author Domains of one From field's *value*."""
    if len(value) > MAX_FROM_OCTETS:
        return Author(unusable="From is too long")
    try:
        addresses = _AddressList(value)
    except _Unusable as unusable:
        return Author(unusable=str(unusable))
    except NotStructured:
        return Author(unusable="From cannot be parsed")
    return Author(
        domains=tuple(addresses.domains)[:MAX_DOMAINS],
        incomplete=len(addresses.domains) > MAX_DOMAINS,
        trailing_dot=addresses.trailing_dot,
    )


def _is_malformed(message: Message) -> bool:
    """Whether programs may disagree about where the header's lines begin and end (FROM-13)."""
    header = message.header_octets
    if len(header) > MAX_HEADER_OCTETS or b"\0" in header:
        return True
    if not all(is_field_name(field.name.rstrip(b" \t")) for field in message.fields):
        return True
    line_ends = header.count(b"\r\n")
    folds = header.count(b"\r\n ") + header.count(b"\r\n\t")
    strays = header.count(b"\r") != line_ends or header.count(b"\n") != line_ends
    return strays or line_ends != len(message.fields) + folds


class _Unusable(Exception):
    """The message is what ``Author.unusable`` says."""


class _AddressList:
    """Reads an address-list (RFC 5322 section 3.4, RFC 6854).

    Of the obsolete forms two are understood, since they leave no doubt about the address: the source route, whose
    last part counts, and dots in a display name that isn't quoted.
    """

    def __init__(self, value: bytes) -> None:
        self.domains: dict[str, None] = {}
        self.trailing_dot = False
        self._addresses = 0
        found = list(islice(tokens(value), MAX_TOKENS + 1))
        if len(found) > MAX_TOKENS:
            raise _Unusable("From has too many parts")
        self._tokens = [token for token in found if token.kind is not Kind.COMMENT]
        self._at = 0
        if not self._tokens:
            raise _Unusable("From is empty")
        self._address()
        while self._take(","):
            self._address()
        if self._next:
            raise _Unusable("From cannot be parsed")
        if not self.domains:
            raise _Unusable("From has no domain")

    def _address(self) -> None:
        """A mailbox or a group."""
        words = self._words()
        if not (words and self._take(":")):
            self._mailbox(words)
            return
        if self._take(";"):
            return
        self._mailbox(self._words())
        while self._take(","):
            self._mailbox(self._words())
        self._expect(";")

    def _mailbox(self, words: list[Token]) -> None:
        """The rest of a mailbox whose first *words* are a display name or a local part."""
        self._addresses += 1
        if self._addresses > MAX_ADDRESSES:
            raise _Unusable("From has too many addresses")
        if not self._take("<"):
            self._addr_spec(words)
            return
        self._route()
        self._addr_spec(self._words())
        self._expect(">")

    def _route(self) -> None:
        """Obsolete, and without meaning for the address (section 4.4)."""
        if not self._is_next("@"):
            return
        while True:
            self._expect("@")
            if not _is_host(self._domain_token()):
                raise _Unusable("From cannot be parsed")
            if not self._take(","):
                break
        self._expect(":")

    def _addr_spec(self, words: list[Token]) -> None:
        if not self._is_next("@"):
            alone = len(words) == 1 and not (self._is_next("<") or self._is_next(":"))
            raise _Unusable("From has no domain" if alone else "From cannot be parsed")
        if len(words) != 1 or not _is_local_part(words[0]):
            raise _Unusable("From cannot be parsed")
        self._expect("@")
        domain = self._domain_token()
        if domain.kind is Kind.LITERAL:
            raise _Unusable("From has an address in place of a domain")
        try:
            self.domains[to_a_label(domain.text)] = None
        except InvalidDomain:
            raise _Unusable("From has an invalid domain") from None
        self.trailing_dot |= domain.text.endswith(".")

    def _domain_token(self) -> Token:
        token = self._next
        if token is None or token.kind not in {Kind.ATOM, Kind.LITERAL}:
            raise _Unusable("From cannot be parsed")
        self._at += 1
        return token

    def _words(self) -> list[Token]:
        start = self._at
        while (token := self._next) and token.kind in {Kind.ATOM, Kind.QUOTED}:
            self._at += 1
        return self._tokens[start : self._at]

    @property
    def _next(self) -> Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _is_next(self, special: str) -> bool:
        token = self._next
        return token is not None and token.is_special(special)

    def _take(self, special: str) -> bool:
        if not self._is_next(special):
            return False
        self._at += 1
        return True

    def _expect(self, special: str) -> None:
        if not self._take(special):
            raise _Unusable("From cannot be parsed")


def _is_host(token: Token) -> bool:
    """Whether *token* can be a part of a route. Of one that can't, parsers make addresses of their own."""
    if token.kind is Kind.LITERAL:
        return not {" ", "\t"} & set(token.text)
    return token.text.isascii() and is_domain(token.text)


def _is_local_part(word: Token) -> bool:
    """A dot-atom or a quoted string. An encoded-word is neither: programs that decode it see another address."""
    if "=?" in word.text and "?=" in word.text:
        return False
    return word.kind is Kind.QUOTED or "" not in word.text.split(".")
