"""The settings in force in this worker: read at start, followed while it runs, and made known to the store."""

import asyncio
from concurrent.futures import Executor
from datetime import UTC, datetime
from time import monotonic

from appliance.log import get_logger
from appliance.policy import LocalPolicy
from appliance.store import nodes, settings
from appliance.store.engine import Store, StoreUnavailable

FOLLOW_SECONDS = 1.0  # a save is in force everywhere within five seconds (behaviour S24)
HEARTBEAT_SECONDS = 10.0


class CurrentPolicy:
    """The newest revision known; a store that can't be read leaves the last one in force."""

    def __init__(self, store: Store, *, node: str, worker: str) -> None:
        """Reads the settings now; raises ``StoreUnavailable``."""
        self._store = store
        self._node = node
        self._worker = worker
        self._log = get_logger()
        self._beaten_at = 0.0
        self._policy = self._read()
        self._heartbeat()

    def current(self) -> LocalPolicy:
        return self._policy

    async def follow(self, executor: Executor) -> None:
        """Look for a new revision again and again, in *executor*, until cancelled."""
        loop = asyncio.get_running_loop()
        reachable = True
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            try:
                newer = await loop.run_in_executor(executor, self._read_if_newer)
                if newer is not None:
                    self._policy = newer
                    self._log.info("settings", revision=newer.revision)
                if newer is not None or monotonic() - self._beaten_at > HEARTBEAT_SECONDS:
                    await loop.run_in_executor(executor, self._heartbeat)
            except StoreUnavailable as error:
                if reachable:
                    self._log.warning("settings-unreadable", error=str(error), revision=self._policy.revision)
                reachable = False
            else:
                reachable = True

    def _read(self) -> LocalPolicy:
        with self._store.read() as connection:
            revision = settings.current(connection)
        return LocalPolicy(revision.settings, revision.number)

    def _read_if_newer(self) -> LocalPolicy | None:
        with self._store.read() as connection:
            if settings.current_number(connection) == self._policy.revision:
                return None
        return self._read()

    def _heartbeat(self) -> None:
        """Say in the store that this worker lives, and which revision it judges by."""
        with self._store.begin() as connection:
            nodes.heartbeat(
                connection, self._node, self._worker, self._policy.revision, {}, datetime.now(UTC)
            )
        self._beaten_at = monotonic()
