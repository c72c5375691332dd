"""Text on the pages: our own words in the reader's language, and strangers' words made safe to look at."""

import flask_babel


def gettext(message: str, **values: object) -> str:
    """*message* in the reader's language, its ``%(name)s`` filled in."""
    return str(flask_babel.gettext(message, **values))


def ngettext(singular: str, plural: str, num: int) -> str:
    """The form for *num* things, ``%(num)s`` filled in."""
    return str(flask_babel.ngettext(singular, plural, num))


def visible(text: object, most: int = 200) -> str:
    r"""*text* with every character that hides, moves or ends text written out, and at most *most* characters.

    Escaping for HTML is the template's business.

    >>> visible("invoice\u202efdp.exe\x07")
    'invoice\\u202efdp.exe\\u0007'
    """
    whole = str(text)
    shown = "".join(char if char.isprintable() else _written_out(char) for char in whole[:most])
    return shown + "…" if len(whole) > most else shown


def _written_out(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"
