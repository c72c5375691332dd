"""Log lines: one event a line, whatever stands in a value (T33)."""

import pytest

from appliance import log


def test_a_line_is_the_name_and_its_values(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure()

    log.get_logger().info("dmarc", qid="4ZqK1", result="fail", override=None, ms=41)

    assert capsys.readouterr().err == "dmarc qid=4ZqK1 result=fail ms=41\n"


@pytest.mark.parametrize(
    "value",
    ["a\nb", "a\r\nfake qid=1", "\x1b[31m", "a b", 'say "x"', "\u202e", "back\\slash", "\udc80", "k=v", ""],
)
def test_t33_hostile_values_stay_one_printable_value(capsys: pytest.CaptureFixture[str], value: str) -> None:
    log.configure()

    log.get_logger().info("dmarc", helo=value, after="end")

    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert line[:-1].isprintable()
    assert line.startswith("dmarc helo=")
    assert line.endswith(" after=end\n")
    assert " qid=1" not in line.replace('fake qid=1"', "")


def test_a_traceback_follows_indented(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure()
    try:
        raise ValueError("bad\x1bthing")
    except ValueError:
        log.get_logger().exception("engine-failure", qid="4ZqK1")

    first, *rest = capsys.readouterr().err.splitlines()
    assert first == "engine-failure level=error qid=4ZqK1"
    assert rest
    assert all(line.startswith("  ") and line.isprintable() for line in rest)


def test_a_long_value_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure()

    log.get_logger().info("dmarc", subject="x" * 10_000)

    assert len(capsys.readouterr().err) < 500
