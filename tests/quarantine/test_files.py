"""Quarantined messages on disk."""

import errno
import os
import stat
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from appliance.quarantine import (
    Condition,
    DamagedMessage,
    Desk,
    MissingMessage,
    Quarantine,
    QuarantineFull,
)
from tests.quarantine.samples import EVENT_ID, OCTETS, files_below, hold, message
from tests.store.samples import held

CHECKOUT = Path(__file__).parents[2]


def test_a_message_is_read_back_octet_by_octet(desk: Desk) -> None:
    row = hold(desk)

    assert desk.files.read(row) == OCTETS
    assert desk.files.condition(row) is Condition.COMPLETE


def test_t44_files_and_folders_belong_to_the_group_of_the_services(
    quarantine: Quarantine, tmp_path: Path
) -> None:
    """Whatever the umask, the pages can read and delete what the filter wrote, and nobody else can."""
    previous = os.umask(0o077)
    try:
        quarantine.write(EVENT_ID, message())
    finally:
        os.umask(previous)

    modes = {
        str(path.relative_to(tmp_path / "quarantine")): stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path / "quarantine").rglob("*")
    }
    assert modes == {"01": 0o2770, "01/23": 0o2770, f"01/23/{EVENT_ID}.eml": 0o660}


def test_a_folder_whose_maker_died_before_it_was_ready_is_made_ready(
    quarantine: Quarantine, tmp_path: Path
) -> None:
    (tmp_path / "quarantine" / "01").mkdir(mode=0o700)

    quarantine.write(EVENT_ID, message())

    assert stat.S_IMODE((tmp_path / "quarantine" / "01").stat().st_mode) == 0o2770


def test_a_folder_that_was_taken_away_is_made_again(desk: Desk, tmp_path: Path) -> None:
    desk.files.delete(hold(desk).event_id)
    (tmp_path / "quarantine" / "01" / "23").rmdir()

    row = hold(desk, event_id="0123aaaaaaaa")

    assert desk.files.read(row) == OCTETS


def test_a_message_is_written_once(desk: Desk) -> None:
    row = hold(desk)

    with pytest.raises(FileExistsError):
        desk.files.write(EVENT_ID, message(b"Subject: other\r\n\r\n"))

    assert desk.files.read(row) == OCTETS


def test_a_link_is_not_followed(quarantine: Quarantine, tmp_path: Path) -> None:
    quarantine.write("0123aaaaaaaa", message())
    target = tmp_path / "target"
    (tmp_path / "quarantine" / "01" / "23" / f"{EVENT_ID}.eml").symlink_to(target)

    with pytest.raises(FileExistsError):
        quarantine.write(EVENT_ID, message())

    assert not target.exists()


@pytest.mark.parametrize(
    "event_id", ["../../../../etc/passwd", "0123456789AB", "0123456789abc", "", "01/3456789ab"]
)
def test_t37_only_an_event_id_names_a_file(quarantine: Quarantine, event_id: str) -> None:
    with pytest.raises(ValueError, match="12 lower-case hexadecimal digits"):
        quarantine.write(event_id, message())
    with pytest.raises(MissingMessage):
        quarantine.read(replace(held(), event_id=event_id))


def test_a_file_that_is_gone_is_missing(desk: Desk) -> None:
    row = hold(desk)
    desk.files.delete(EVENT_ID)
    desk.files.delete(EVENT_ID)

    with pytest.raises(MissingMessage, match="is gone"):
        desk.files.read(row)

    assert desk.files.condition(row) is Condition.GONE


def test_a_file_that_was_changed_is_damaged(desk: Desk, tmp_path: Path) -> None:
    row = hold(desk)
    [file] = files_below(tmp_path / "quarantine")
    file.write_bytes(OCTETS[:-1] + b"!")

    with pytest.raises(DamagedMessage, match="was changed or damaged"):
        desk.files.read(row)


def test_a_file_that_was_cut_short_is_told_as_such(desk: Desk, tmp_path: Path) -> None:
    row = hold(desk)
    [file] = files_below(tmp_path / "quarantine")
    os.truncate(file, 100)

    with pytest.raises(DamagedMessage, match=rf"was cut short: 100 of {len(OCTETS)} octets are left"):
        desk.files.read(row)

    assert desk.files.condition(row) is Condition.CUT_SHORT


def test_a_folder_that_can_not_be_written_is_an_os_error(tmp_path: Path) -> None:
    """The filter answers 451 to any OSError."""
    (tmp_path / "quarantine").write_text("a file")

    with pytest.raises(OSError, match="quarantine") as error:
        Quarantine(tmp_path / "quarantine").write(EVENT_ID, message())

    assert error.value.errno == errno.ENOTDIR


def test_old_files_are_found_and_others_left_alone(quarantine: Quarantine, tmp_path: Path) -> None:
    for event_id in (EVENT_ID, "0123aaaaaaaa", "ffff00000000"):
        quarantine.write(event_id, message())
    folder = tmp_path / "quarantine" / "01" / "23"
    (folder / "README").write_text("not ours")
    (folder / "ffff11111111.eml").write_text("in another's folder")
    now = datetime.now(UTC)
    young = folder / "0123aaaaaaaa.eml"
    for file in files_below(tmp_path / "quarantine"):
        moment = (now if file == young else now - timedelta(hours=2)).timestamp()
        os.utime(file, (moment, moment))

    found = set(quarantine.written_before(now - timedelta(hours=1)))

    assert found == {EVENT_ID, "ffff00000000"}


FULL = """
import sys
from pathlib import Path
from appliance.quarantine import Quarantine, QuarantineFull
from tests.quarantine.samples import message
quarantine = Quarantine(Path(sys.argv[1]))
small, large = message(), message(b'Subject: x\\r\\n\\r\\n' + b'x' * 500_000)
try:
    quarantine.write('aaaaaaaaaaaa', large)
except QuarantineFull as error:
    print(error.strerror)
print(len([path for path in Path(sys.argv[1]).rglob('*') if path.is_file()]))
quarantine.write('bbbbbbbbbbbb', small)
"""


@pytest.mark.parametrize(
    "limit",
    [
        pytest.param('mount -t tmpfs -o size=128k none "$1" && exec "$2" -c "$3" "$1"', id="a small disk"),
        pytest.param('ulimit -f 256 && exec "$2" -c "$3" "$1"', id="a limit to files"),
    ],
)
def test_f7_a_full_disk_leaves_no_file_behind(tmp_path: Path, limit: str) -> None:
    """The disk is mounted in a name space of its own, which ends with the program."""
    inside = ["unshare", "-m"] if "mount" in limit else []
    if inside and subprocess.run([*inside, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("only root may mount")

    done = subprocess.run(
        [*inside, "sh", "-c", limit, "sh", str(tmp_path), sys.executable, FULL],
        check=True,
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
    )

    assert issubclass(QuarantineFull, OSError)
    assert done.stdout.splitlines() == ["no space is left for quarantined mail", "0"]
