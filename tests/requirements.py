"""Name the rows of ``requirements.toml`` that no test names: ``python tests/requirements.py``.

A row counts as tested when its id stands in a test file in the name of a test, in its docstring or in the id of a case.
A table beside the tests counts for those that use it; comments, helpers and a module's own docstring do not.
What people see (``S1`` and the like) is to be proved with mail through a real Postfix: only tests below ``system`` count there.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROWS = TESTS / "requirements.toml"

THROUGH_POSTFIX = TESTS / "system"

_IN_TEXT = re.compile(r"\b([A-Z]{2,4}-\d\d|S[1-9]\d?)\b")
_IN_NAME = re.compile(r"(?<=_)([a-z]{2,4}_\d\d|s[1-9]\d?)(?=_|$)")

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def read_rows(path: Path = ROWS) -> dict[str, str]:
    """The ids of the rows, in their order, with what each demands."""
    return {
        f"{group}{number}" if group == "S" else f"{group}-{number}": says
        for group, rows in tomllib.loads(path.read_text(encoding="utf-8")).items()
        for number, says in rows.items()
    }


def named_in(source: str) -> set[str]:
    """The ids that the tests in a test file's *source* name."""
    module = ast.parse(source)
    tables = dict(_tables(module.body))
    named: set[str] = set()
    for test in _tests(module.body):
        named.update(_ids(test))
        used = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
        for name in used & tables.keys():
            named.update(_ids(tables[name]))
    return named


def _tests(body: Iterable[ast.stmt]) -> Iterator[_Definition]:
    for statement in body:
        if isinstance(statement, _Definition) and statement.name.startswith(("test_", "Test")):
            yield statement


def _tables(body: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for statement in body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield name, value
            case _:
                pass


def _ids(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)):
                yield from _IN_TEXT.findall(text)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield from (found.upper().replace("_", "-") for found in _IN_NAME.findall(name))
            case _:
                pass


def main() -> int:
    rows = read_rows()
    named: set[str] = set()
    for path in TESTS.rglob("test_*.py"):
        found = named_in(path.read_text(encoding="utf-8"))
        named |= found if path.is_relative_to(THROUGH_POSTFIX) else {row for row in found if "-" in row}
    untested = [row for row in rows if row not in named]
    for row in untested:
        print(f"{row}: {rows[row]}")
    if untested:
        print(f"{len(untested)} of {len(rows)} rows have no test")
        return 1
    print(f"all {len(rows)} rows have a test")
    return 0


if __name__ == "__main__":
    sys.exit(main())
