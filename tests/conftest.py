"""What all tests share: programs, ports, a name server, databases, and the long form of a run."""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest

from appliance.lab.nameserver import NameServer
from appliance.lab.ports import free_ports
from appliance.store.engine import Store, open_store, upgrade
from appliance.store.schema import METADATA
from tests.postgresql import PostgresqlServer, postgresql_server
from tests.processes import children_of

SYSTEM_PLACES = ("/usr/local/sbin", "/usr/sbin", "/sbin")
PACKAGES = {
    "initdb": "postgresql",
    "postgres": "postgresql",
    "mkfs.ext4": "e2fsprogs",
}  # where it isn't the program's own name
OTHER_NAMES = {"chromium": ("chromium-browser",)}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run the tests marked long")


def pytest_configure(config: pytest.Config) -> None:
    # Speed depends on who else uses the machine, so no deadline and no check of it.
    hypothesis.settings.register_profile(
        "default",
        deadline=None,
        print_blob=True,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    default = hypothesis.settings.get_profile("default")
    hypothesis.settings.register_profile("ci", parent=default, derandomize=True)
    hypothesis.settings.register_profile("long", parent=default, max_examples=3000)
    if config.getoption("--long"):
        hypothesis.settings.load_profile("long")
    else:
        hypothesis.settings.load_profile("ci" if in_ci() else "default")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Fast tests first; tests marked long only with ``--long``."""
    if not config.getoption("--long"):
        too_long = [item for item in items if item.get_closest_marker("long")]
        if too_long:
            config.hook.pytest_deselected(items=too_long)
            items[:] = [item for item in items if not item.get_closest_marker("long")]
    items.sort(key=slowness)


def slowness(item: pytest.Item) -> int:
    if item.get_closest_marker("web"):
        return 2
    return 1 if item.get_closest_marker("system") else 0


def in_ci() -> bool:
    return os.environ.get("CI") == "true"


# ---- programs and ports ---------------------------------------------------------


def cannot_run(message: str) -> NoReturn:
    """Fail in CI, skip anywhere else."""
    if in_ci():
        pytest.fail(message)
    pytest.skip(message)


def find_program(program: str) -> Path:
    """The path of *program*. Without it the test fails in CI, and is skipped anywhere else."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *SYSTEM_PLACES, *postgresql_places()])
    for name in (program, *OTHER_NAMES.get(program, ())):
        if found := shutil.which(name, path=path):
            return Path(found)
    cannot_run(f"{program} is missing: install the package {PACKAGES.get(program, program)}")


def postgresql_places() -> list[str]:
    """Debian keeps each version's server programs in a folder of its own: newest first."""
    versions = [place for place in Path("/usr/lib/postgresql").glob("*/bin") if place.parent.name.isdigit()]
    return [str(place) for place in sorted(versions, key=lambda place: -int(place.parent.name))]


@pytest.fixture(scope="session")
def requires_postfix() -> None:
    """Postfix is installed, and we may start one of our own."""
    find_program("postfix")
    if os.geteuid() != 0:
        cannot_run("Postfix can be started by root only: run the tests with sudo")


@pytest.fixture(scope="session")
def requires() -> Callable[[str], Path]:
    """``requires("postfix")`` gives the program's path, or ends the test as *find_program* says."""
    return find_program


def unused_port() -> int:
    return free_ports(1)[0]


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Each call gives another TCP port of 127.0.0.1 that nobody listens on."""
    return unused_port


@pytest.fixture(scope="session")
def long_run(pytestconfig: pytest.Config) -> bool:
    """Whether this is the long form of a run: a test that can be scaled asks here for its size."""
    return bool(pytestconfig.getoption("--long"))


# ---- DNS ------------------------------------------------------------------------


@pytest.fixture
def nameserver() -> Iterator[NameServer]:
    """A name server whose zone is empty."""
    with NameServer() as running:
        yield running


# ---- nothing stays behind -------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def _no_process_left_behind() -> Iterator[None]:
    """The first fixture up and the last one down: whoever is still there was forgotten."""
    before = children()

    yield

    left = {pid: command for pid, command in children().items() if pid not in before}
    assert not left, f"the tests left these processes running: {left}"


def children() -> dict[int, str]:
    """The running child processes of this one, with their command lines."""
    found: dict[int, str] = {}
    for pid in children_of(os.getpid()):
        with contextlib.suppress(OSError):  # it may end while we look
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
            if command and b"multiprocessing.resource_tracker" not in command:
                found[pid] = command.decode(errors="replace").strip()
    return found


# ---- databases ------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A running PostgreSQL server, started for this test process and stopped at its end."""
    with postgresql_server(find_program("initdb"), find_program("postgres"), unused_port()) as server:
        yield server


@pytest.fixture
def postgresql_url(postgresql: PostgresqlServer) -> Iterator[str]:
    """The URL of an empty PostgreSQL database for this test alone."""
    name = f"test_{time.monotonic_ns()}"
    postgresql.create_database(name)

    yield postgresql.url(name)

    postgresql.drop_database(name)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite database file that does not exist yet, for this test alone."""
    return f"sqlite:///{tmp_path / 'dmarcgate.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database: the test runs once on SQLite and once on PostgreSQL."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store in a file, made once in a run because that takes longest."""
    path = tmp_path_factory.mktemp("migrated") / "dmarcgate.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_database(postgresql: PostgresqlServer) -> Iterator[str]:
    """The URL of an empty store on PostgreSQL; whoever uses it empties it again."""
    name = f"store_{time.monotonic_ns()}"
    postgresql.create_database(name)
    upgrade(postgresql.url(name))
    yield postgresql.url(name)
    postgresql.drop_database(name)


@pytest.fixture
def sqlite_store(migrated_file: Path, sqlite_url: str) -> Iterator[Store]:
    """An open, empty store at *sqlite_url*."""
    shutil.copy(migrated_file, sqlite_url.removeprefix("sqlite:///"))
    with contextlib.closing(open_store(sqlite_url)) as opened:
        yield opened


@pytest.fixture
def postgresql_store(migrated_database: str) -> Iterator[Store]:
    with contextlib.closing(open_store(migrated_database)) as opened:
        yield opened
        with opened.begin() as connection:
            for table in reversed(METADATA.sorted_tables):
                connection.execute(table.delete())


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> Store:
    """An open, empty store: the test runs once on each database."""
    opened: Store = request.getfixturevalue(f"{request.param}_store")
    return opened
