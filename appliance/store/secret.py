"""Random keys that all nodes share and nobody outside may know."""

import secrets

from sqlalchemy import Connection, select

from appliance.store.batch import insert_for
from appliance.store.schema import secret as secret_table
from appliance.store.values import text

KEY_OCTETS = 32


def shared_key(connection: Connection, purpose: str, *, lock: bool = False) -> bytes:
    """The key for *purpose*, made when it is first asked for: in a transaction that may write.

    With *lock* whoever else asks so waits until this transaction ends.
    """
    wanted = select(secret_table.c.key).where(secret_table.c.purpose == text(purpose, 64))
    if lock:
        wanted = wanted.with_for_update()
    known: bytes | None = connection.scalar(wanted)
    if known is None:
        new = insert_for(connection.dialect, secret_table).values(
            purpose=text(purpose, 64), key=secrets.token_bytes(KEY_OCTETS)
        )
        connection.execute(new.on_conflict_do_nothing())
        known = connection.scalar(wanted)
        assert known is not None, "it was there, or is now"
    return known
