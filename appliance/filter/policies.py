"""The settings in force in this worker: read at start, followed while it runs, and made known to the store."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from datetime import UTC, datetime
from time import monotonic

from appliance.filter.kept_settings import KeptSettings
from appliance.log import get_logger
from appliance.policy import LocalPolicy
from appliance.settings import InvalidSettings
from appliance.store import nodes, settings
from appliance.store.engine import Store, StoreUnavailable

FOLLOW_SECONDS = 1.0  # a save is in force everywhere within five seconds (behaviour S24)
HEARTBEAT_SECONDS = 10.0


class CurrentPolicy:
    """The newest revision known; a store or a revision that can't be read leaves the last one in force."""

    def __init__(
        self,
        store: Store,
        *,
        node: str,
        worker: str,
        kept: KeptSettings | None = None,
        counters: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        """Reads the settings now, or what was *kept* of them when the store can't be read.

        Raises ``StoreUnavailable`` or ``InvalidSettings`` when neither is to be had.
        """
        self._store = store
        self._node = node
        self._worker = worker
        self._kept = kept
        self._counters = counters
        self._log = get_logger()
        self._told: Mapping[str, int] | None = None
        self._told_at = 0.0
        self._trouble = ""
        self._policy = self._read_at_start()
        if not self._trouble:
            self._heartbeat()

    def current(self) -> LocalPolicy:
        return self._policy

    async def follow(self, executor: Executor) -> None:
        """Look for a new revision again and again, in *executor*, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            await loop.run_in_executor(executor, self._look)

    def _look(self) -> None:
        try:
            changed = self._take_newer()
            if changed or self._counters() != self._told or monotonic() - self._told_at > HEARTBEAT_SECONDS:
                self._heartbeat()
        except Exception:  # noqa: BLE001  whatever it is, the next revision must be found
            self._log.exception("settings-unreadable", revision=self._policy.revision)

    def _take_newer(self) -> bool:
        try:
            newer = self._read_if_newer()
        except (StoreUnavailable, InvalidSettings) as error:
            self._report(error)
            return False
        self._trouble = ""
        if newer is None:
            return False
        self._policy = newer
        self._log.info("settings", worker=self._worker, revision=newer.revision)
        self._keep(newer)
        return True

    def _read_at_start(self) -> LocalPolicy:
        try:
            policy = self._read()
        except (StoreUnavailable, InvalidSettings) as error:
            kept = self._kept.read() if self._kept is not None else None
            if kept is None:
                raise
            self._policy = kept
            self._report(error)
            return kept
        self._keep(policy)
        return policy

    def _read(self) -> LocalPolicy:
        with self._store.read() as connection:
            revision = settings.current(connection)
        return LocalPolicy(revision.settings, revision.number)

    def _read_if_newer(self) -> LocalPolicy | None:
        with self._store.read() as connection:
            if settings.current_number(connection) == self._policy.revision:
                return None
        return self._read()

    def _keep(self, policy: LocalPolicy) -> None:
        if self._kept is not None:
            try:
                self._kept.keep(policy)
            except OSError as error:
                self._log.warning("settings-not-kept", error=str(error))

    def _heartbeat(self) -> None:
        """Say in the store that this worker lives, and which revision it judges by; mail doesn't wait for that."""
        counters = dict(self._counters())
        try:
            with self._store.begin() as connection:
                nodes.heartbeat(
                    connection,
                    self._node,
                    self._worker,
                    self._policy.revision,
                    counters,
                    datetime.now(UTC),
                )
        except StoreUnavailable as error:
            self._told = None  # again the next time we look
            self._log.debug("heartbeat-unwritten", error=str(error))
        else:
            self._told, self._told_at = counters, monotonic()

    def _report(self, error: Exception) -> None:
        """Say once why the settings in force are perhaps not the newest."""
        if str(error) != self._trouble:
            self._trouble = str(error)
            self._log.warning(
                "settings-unreadable",
                worker=self._worker,
                revision=self._policy.revision,
                error=self._trouble,
            )
