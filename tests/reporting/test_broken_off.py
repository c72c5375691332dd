"""What Postfix's log says of a hand-over whose end nobody saw (F13)."""

from pathlib import Path

import pytest

from appliance.mta.log import Place, end
from reporting.broken_off import taken_as

IDENT = "0123456789ab"
NAMED = f"postfix/report/smtpd[9]: 4ZqK1: client=localhost[127.0.0.1], orig_queue_id={IDENT}"
QUEUED = "postfix/qmgr[5]: 4ZqK1: from=<bounces+1@gateway.test>, size=2912, nrcpt=1 (queue active)"
DISCONNECTED = (
    "postfix/report/smtpd[9]: disconnect from localhost[127.0.0.1] ehlo=1 mail=1 rcpt=1 data=1 commands=4"
)


def log_of(folder: Path, *lines: str) -> Path:
    log = folder / "maillog"
    log.write_text("".join(f"Mar 30 01:00:00 gateway {line}\n" for line in lines))
    return log


def found(log: Path, since: Place | None = None) -> str:
    return taken_as(IDENT, log, since or Place(log.stat().st_ino, 0))


def test_f13_what_was_queued_under_its_name_was_taken(tmp_path: Path) -> None:
    assert found(log_of(tmp_path, NAMED, QUEUED)) == "4ZqK1"


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param((), id="nothing"),
        pytest.param((NAMED,), id="offered only"),
        pytest.param((NAMED, DISCONNECTED), id="the message before it on the same connection was taken"),
        pytest.param((QUEUED,), id="queued, but not ours"),
        pytest.param((QUEUED, NAMED), id="another message with that queue ID before"),
        pytest.param((NAMED.replace(IDENT, "ba9876543210"), QUEUED), id="another name"),
        pytest.param(
            (NAMED.replace("client=", "from=<client=x, orig_queue_id=" + IDENT + ">, "), QUEUED),
            id="the name in a line of strangers",
        ),
        pytest.param((f"evil[1]: {NAMED}", QUEUED), id="another program's line"),
    ],
)
def test_f13_all_else_is_no_proof_that_it_was_taken(tmp_path: Path, lines: tuple[str, ...]) -> None:
    assert found(log_of(tmp_path, *lines)) == ""


def test_f13_a_log_that_was_rotated_meanwhile_is_read_from_its_old_place_on(tmp_path: Path) -> None:
    log = log_of(tmp_path, NAMED.replace(IDENT, "ba9876543210"))
    since = end(log)
    log.rename(tmp_path / "maillog.1")
    log_of(tmp_path, NAMED, QUEUED)

    assert found(log, since) == "4ZqK1"


def test_f13_a_log_that_is_gone_tells_nothing(tmp_path: Path) -> None:
    assert taken_as(IDENT, tmp_path / "maillog", Place(1, 0)) == ""
