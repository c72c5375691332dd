"""The settings in force, kept in a file beside the store: a worker that is replaced while the store is down judges by them."""

import json
from pathlib import Path

from appliance.policy import LocalPolicy
from appliance.settings import InvalidSettings, from_document


class KeptSettings:
    """One file for all workers of the node; *worker* keeps their half-written ones apart."""

    def __init__(self, path: Path, worker: str) -> None:
        self._path = path
        self._unfinished = path.with_name(f"{path.name}.{worker}")

    def keep(self, policy: LocalPolicy) -> None:
        """Replace what was kept before. Raises ``OSError``; what was kept before stays then."""
        document = {"revision": policy.revision, "settings": policy.settings.model_dump(mode="json")}
        try:
            self._unfinished.write_text(json.dumps(document), encoding="utf-8")
            self._unfinished.chmod(0o640)
            self._unfinished.replace(self._path)
        except OSError:
            self._unfinished.unlink(missing_ok=True)
            raise

    def read(self) -> LocalPolicy | None:
        """``None`` when nothing usable was kept."""
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
            return LocalPolicy(from_document(document["settings"]), int(document["revision"]))
        except (OSError, ValueError, KeyError, TypeError, InvalidSettings):
            return None
