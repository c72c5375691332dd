"""A private PostgreSQL server for the tests: made in a folder of its own, and gone with it."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

OLDEST_VERSION = 15
INITDB_OPTIONS = ("--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
STARTUP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class PostgresqlServer:
    """A private PostgreSQL server that only the tests of this process use."""

    port: int
    folder: Path

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", dbname="postgres", autocommit=True
        )

    def create_database(self, name: str) -> None:
        with self.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def drop_database(self, name: str) -> None:
        with self.connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextlib.contextmanager
def postgresql_server(initdb: Path, postgres: Path, port: int) -> Iterator[PostgresqlServer]:
    """Make and run a server with these two programs; it listens on *port* of 127.0.0.1."""
    version = int(subprocess.check_output([postgres, "--version"], text=True).split()[2].split(".")[0])
    assert version >= OLDEST_VERSION, (
        f"PostgreSQL {version} found; the store supports {OLDEST_VERSION} and newer"
    )
    # Not in pytest's own folder, which the user "postgres" may not enter.
    folder = Path(tempfile.mkdtemp(prefix="dmarcgate-pg-"))
    try:
        as_user = unprivileged(folder)
        data = str(folder / "data")
        made = subprocess.run(
            [*as_user, str(initdb), "-D", data, "-U", "postgres", *INITDB_OPTIONS],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
        )
        assert made.returncode == 0, made.stderr
        server = PostgresqlServer(port, folder)
        command = [*as_user, str(postgres), "-D", data, *server_options(server)]
        with running(command, folder / "log") as process:
            wait_until_ready(server, process)
            yield server
    finally:
        shutil.rmtree(folder)


def unprivileged(folder: Path) -> list[str]:
    """The start of a command that runs as the owner of *folder*: PostgreSQL refuses to run as root.

    The kernel stops the command when this process dies without cleaning up.
    """
    command = ["setpriv", "--pdeathsig", "INT"]
    if os.geteuid() != 0:
        return command
    account = pwd.getpwnam("postgres")
    os.chown(folder, account.pw_uid, account.pw_gid)
    return [*command, f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]


def server_options(server: PostgresqlServer) -> list[str]:
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(server.port),
        "unix_socket_directories": str(server.folder),
        "fsync": "off",  # the data does not outlive the tests
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "shared_buffers": "32MB",
    }
    return [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]


@contextlib.contextmanager
def running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=log.parent
        ) as process,
    ):
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)  # PostgreSQL: end all sessions, then stop
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_until_ready(server: PostgresqlServer, process: subprocess.Popen[bytes]) -> None:
    give_up_at = time.monotonic() + STARTUP_SECONDS
    while True:
        try:
            server.connect().close()
        except psycopg.OperationalError:
            hopeless = process.poll() is not None or time.monotonic() > give_up_at
            assert not hopeless, "PostgreSQL did not start:\n" + (server.folder / "log").read_text()
            time.sleep(0.05)
        else:
            return
