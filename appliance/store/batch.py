"""Insert many rows with as little work as possible: every message passes here."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, Table, bindparam
from sqlalchemy.dialects import postgresql, sqlite

Insert = postgresql.Insert | sqlite.Insert


class BatchInsert:
    """An INSERT that SQLAlchemy compiles once for each kind of database; rows are tuples of plain values."""

    def __init__(
        self, table: Table, columns: Sequence[str], conflict: Callable[[Insert], Insert] | None = None
    ) -> None:
        """Rows have *columns* in this order; *conflict* adds what happens to a row whose key exists already."""
        self._table = table
        self._columns = tuple(columns)
        self._conflict = conflict
        self._sql: dict[str, str] = {}

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> int:
        """How many rows were added or changed."""
        if not rows:
            return 0
        sql = self._sql.get(connection.dialect.name)
        if sql is None:
            sql = self._sql[connection.dialect.name] = self._compile(connection.dialect)
        return connection.exec_driver_sql(sql, list(rows)).rowcount

    def _compile(self, dialect: Dialect) -> str:
        insert: Insert = insert_for(dialect, self._table).values(
            {name: bindparam(name) for name in self._columns}
        )
        compiled = (self._conflict(insert) if self._conflict else insert).compile(dialect=dialect)
        order = tuple(getattr(compiled, "positiontup", None) or ())
        assert order == self._columns, f"{order} is not the order of {self._columns}"
        return str(compiled)


def insert_for(dialect: Dialect, table: Table) -> Insert:
    """An INSERT that knows ON CONFLICT, which both databases have, but SQLAlchemy has for each its own."""
    return postgresql.insert(table) if dialect.name == "postgresql" else sqlite.insert(table)
