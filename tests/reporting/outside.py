"""The mail server of those who asked for reports: it takes, refuses, puts off or hangs up, by the recipient's name."""

import asyncio
import threading
from collections.abc import Callable
from typing import Self, cast

from aiosmtpd.smtp import SMTP, Envelope, Session

from appliance.lab.ports import LOOPBACK

AT_RECIPIENT = {
    "gone": "550 5.1.1 no such user",
    "full": "552 5.2.2 mailbox full",
    "busy": "451 4.2.1 greylisted, come back",
}
AT_DATA = {"large": "552 5.3.4 message too big"}


class Outside:
    """Runs on loopback in a thread of its own, as a context manager."""

    def __init__(self) -> None:
        self.port = 0
        self.taken: list[tuple[str, str]] = []
        """Sender and recipient of each message."""
        self.answers = AT_RECIPIENT | AT_DATA
        """By the recipient's local part."""
        self._end: Callable[[], object] = lambda: None

    def __enter__(self) -> Self:
        serving = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(serving)), daemon=True)
        self._thread.start()
        assert serving.wait(20), "the server did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._thread.join()

    async def _serve(self, serving: threading.Event) -> None:
        loop, end = asyncio.get_running_loop(), asyncio.Event()
        self._end = lambda: loop.call_soon_threadsafe(end.set)
        server = await loop.create_server(
            lambda: SMTP(self, hostname="outside.test", loop=loop), LOOPBACK, self.port
        )
        self.port = server.sockets[0].getsockname()[1]
        serving.set()
        await end.wait()
        server.close()

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        name = address.partition("@")[0]
        if name == "hangsup":
            cast("asyncio.Transport", server.transport).abort()
        if name in AT_RECIPIENT and name in self.answers:
            return self.answers[name]
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        names = {address.partition("@")[0] for address in envelope.rcpt_tos}
        refused = next((self.answers[name] for name in names if name in AT_DATA and name in self.answers), "")
        if not refused:
            self.taken += [((envelope.mail_from or "").strip("<>"), address) for address in envelope.rcpt_tos]
        return refused or "250 2.0.0 taken"
