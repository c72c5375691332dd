"""Lines of text for a terminal: headings, aligned columns, wrapped sentences."""

import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 110
_GAP = "  "
_MAX_COLUMN = 44


def heading(title: str, rest: str = "") -> list[str]:
    """*rest* keeps its case: names are compared by eye."""
    return ["", title.upper() + (f"  {rest}" if rest else "")]


def wrapped(text: str, *, first: str = "  ", rest: str = "  ") -> list[str]:
    """*text* in lines of at most ``WIDTH``; words longer than that stay whole, so that they can be copied."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first.rstrip()]


def pairs(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Names and values, the values below each other; a pair without a value is left out."""
    shown = [(name, value) for name, value in rows if value]
    width = max((len(name) for name, _ in shown), default=0)
    lines: list[str] = []
    for name, value in shown:
        start = f"  {name:<{width}}{_GAP}"
        lines += wrapped(value, first=start, rest=" " * len(start))
    return lines


def table(rows: Sequence[Sequence[str]], *, indent: str = "  ") -> list[str]:
    """Columns as wide as they need to be; the last one is wrapped beside them."""
    if not rows:
        return []
    widths = [min(max(len(row[at]) for row in rows), _MAX_COLUMN) for at in range(len(rows[0]) - 1)]
    lines: list[str] = []
    for row in rows:
        start = indent + "".join(f"{cell:<{width}}{_GAP}" for cell, width in zip(row, widths, strict=False))
        rest = indent + " " * sum(width + len(_GAP) for width in widths)
        lines += [line.rstrip() for line in wrapped(row[-1], first=start, rest=rest)]
    return lines


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
