"""Settings changed by somebody: the revision and its line in the audit trail, together or not at all."""

from dataclasses import dataclass

from sqlalchemy import Connection

from appliance.settings import Settings
from appliance.settings.changes import Change, diff
from appliance.store import audit, settings
from appliance.store.settings import Revision


@dataclass(frozen=True, slots=True)
class Saved:
    """*revision* is in force now. With *is_new* false nothing was different, so nothing was saved."""

    revision: Revision
    changes: tuple[Change, ...]
    is_new: bool


def save(
    connection: Connection,
    wanted: Settings,
    *,
    based_on: int,
    author: str,
    comment: str = "",
    address: str = "",
) -> Saved:
    """Make *wanted* the settings in force. Raises ``SettingsConflict``, see ``store.settings.save``.

    *address* is where the request came from; ``""`` for the command line.
    """
    before = settings.current(connection)
    revision = settings.save(connection, wanted, based_on=based_on, author=author, comment=comment)
    if revision.number == before.number:
        return Saved(revision, (), is_new=False)
    changes = diff(before.settings, wanted)
    audit.write(
        connection,
        author,
        "settings saved",
        f"revision {revision.number}",
        "\n".join(map(str, changes)),
        address=address,
    )
    return Saved(revision, changes, is_new=True)
