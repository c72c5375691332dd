"""Makes From fields by the thousand: by the grammar of RFC 5322 with its obsolete forms, then often damaged."""

from random import Random

_DOMAINS = (
    *("legit.test", "LEGIT.test", "other.test", "sub.other.test", "legit.test.", "xn--bcher-kva.example"),
    *("bücher.example", "a", "192.0.2.1", "x_y.test", "-x.test", "legit.test\u3002other"),
)
_ATOMS = (
    "a",
    "u",
    "Name",
    "J.",
    "u.v",
    "u+x=y",
    "é",
    "'",
    "'u@other.test'",
    "O'Neil",
    "_",
    "a..b",
    ".a",
    "=?",
    "?=",
)
_IN_QUOTES = (
    *(
        "q",
        "",
        "a b",
        "a, b",
        "u@other.test",
        "<u@other.test>",
        ">",
        "<",
        ";",
        ":",
        "(",
        ")",
        r"\"",
        r"\\",
        r"\a",
    ),
    *("@", "é", "\r\n x", "\t", "=?utf-8?q?a=40other=2Etest?=", "group: x;"),
)
_ENCODED = (
    *("a=40other=2Etest", "=22", "=2C", "=3Ca=40other=2Etest=3E", "=3A", "=0D=0A_", "=C3=A9", "x"),
    *("=3Cu=40other.test=3E=2C", "=5C"),
)
_COMMENTS = (
    "c",
    "",
    "u@other.test",
    "<u@other.test>",
    r"\)",
    r"\(",
    "(c)",
    "((u@other.test))",
    "é",
    '"',
    ",",
    "\r\n ",
)
_SPACE = ("", "", "", "", "", " ", " ", "  ", "\t", "\r\n ", "\r\n\t ")
_ROUTES = (
    "",
    "",
    "",
    "",
    "@x.test:",
    "@x.test,@other.test:",
    "@[192.0.2.1]:",
    "@x.test,:",
    ",@x.test:",
    "@ x.test :",
)
_JUNK = (
    *('@<>,;:"()\\. []', "\r\n ", "\r\n\r\n ", "\n", "\r", "\0", "\x7f", "é", "\u3000", "\u200b"),
    *(
        "u@other.test",
        "<u@other.test>",
        "[192.0.2.1]",
        "g:",
        '"q"',
        "(c)",
        "=?x?q?a=40b=2Etest?=",
        "%40",
        "=40",
        "+",
    ),
)
_JUNK_CHARACTERS = _JUNK[0]


class FromFields:
    """A stream of fields that depends on the seed alone."""

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)

    def field(self) -> str:
        """Half are by the grammar; the others are damaged in one place to four, or made of scraps."""
        kind = self._rng.random()
        if kind < 0.05:
            return "".join(self._junk() for _ in range(self._rng.randint(1, 9)))
        field = self._list()
        if kind < 0.5:
            for _ in range(self._rng.choice((1, 1, 1, 2, 4))):
                field = self._damaged(field)
        return field

    def _list(self) -> str:
        members = self._rng.choice((1, 1, 1, 1, 2, 3))
        return ",".join(
            self._group() if self._rng.random() < 0.1 else self._mailbox() for _ in range(members)
        )

    def _group(self) -> str:
        mailboxes = ",".join(self._mailbox() for _ in range(self._rng.choice((0, 1, 1, 2))))
        return f"{self._phrase()}:{mailboxes}{self._space()};{self._space()}"

    def _mailbox(self) -> str:
        if self._rng.random() < 0.3:
            return self._address()
        route = self._rng.choice(_ROUTES)
        return f"{self._phrase()}{self._space()}<{route}{self._address()}>{self._space()}"

    def _address(self) -> str:
        domain = self._rng.choice(_DOMAINS) if self._rng.random() < 0.97 else "[192.0.2.1]"
        between = (self._space(), self._space()) if self._rng.random() < 0.3 else ("", "")
        return f"{self._space()}{self._word()}{between[0]}@{between[1]}{domain}{self._space()}"

    def _phrase(self) -> str:
        return self._rng.choice((" ", " ", "", "\t")).join(
            self._word() for _ in range(self._rng.randint(0, 3))
        )

    def _word(self) -> str:
        kind = self._rng.random()
        if kind < 0.5:
            return self._rng.choice(_ATOMS)
        if kind < 0.8:
            return '"' + "".join(self._rng.choices(_IN_QUOTES, k=self._rng.choice((1, 1, 2)))) + '"'
        encoding = self._rng.choice(("q", "Q", "b"))
        return f"=?utf-8?{encoding}?{self._rng.choice(_ENCODED)}?="

    def _space(self) -> str:
        """White space and comments."""
        space = self._rng.choice(_SPACE)
        if self._rng.random() < 0.1:
            space += f"({self._rng.choice(_COMMENTS)}){self._rng.choice(_SPACE)}"
        return space

    def _damaged(self, field: str) -> str:
        at = self._rng.randint(0, len(field))
        if self._rng.random() < 0.3:
            return field[:at] + field[at + self._rng.randint(1, 4) :]
        return field[:at] + self._junk() + field[at:]

    def _junk(self) -> str:
        junk = self._rng.choice(_JUNK)
        return self._rng.choice(_JUNK_CHARACTERS) if junk is _JUNK_CHARACTERS else junk
