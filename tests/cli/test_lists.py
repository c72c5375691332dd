"""``dmarcgate list``: entries added, removed, imported and exported (S11, S13, S14, S18)."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from appliance.settings import Settings
from appliance.settings.lists import LISTS
from appliance.settings.names import replaced, value_of
from appliance.store import exceptions
from appliance.store.engine import Store
from tests.cli.commands import Gate, OnTerminal
from tests.cli.conftest import Saved

File = Callable[[str | bytes], str]


def entries(saved: Saved, setting: str = "verification.domains") -> list[str]:
    return [str(record) for record in value_of(saved.settings, setting)]


@pytest.mark.parametrize("name", LISTS)
def test_each_list_takes_shows_exports_and_gives_up_an_entry(gate: Gate, saved: Saved, name: str) -> None:
    entry = "example.com" if "domain" in LISTS[name].setting or name == "sealers" else "192.0.2.7"

    added = gate("list", name, "add", f"{entry} # ours")
    shown = [json.loads(line) for line in gate("list", name, "show", "--json").out.splitlines()]
    exported = gate("list", name, "export").out
    removed = gate("list", name, "remove", entry)

    assert (added.status, removed.status) == (0, 0)
    assert (shown[-1]["entry"], shown[-1]["comment"]) == (entry, "ours")
    assert exported.endswith("# ours\n")
    assert exported.splitlines() == [record["line"] for record in shown]
    assert value_of(saved.settings, LISTS[name].setting) == value_of(Settings(), LISTS[name].setting)


def test_a_name_that_is_no_list_is_refused(gate: Gate) -> None:
    done = gate("list", "whitelist", "show")

    assert done.status == 2
    assert "whitelist" in done.err


def test_s11_a_duplicate_changes_nothing_and_says_so(gate: Gate, saved: Saved) -> None:
    gate("list", "domains", "add", "bücher.example # shop")

    done = gate("list", "domains", "add", "XN--BCHER-KVA.example.")

    assert done.status == 0
    assert '"bücher.example" changes nothing: the list has "bücher.example # shop"' in done.err
    assert "revision 1 (nothing changed)" in done.err
    assert entries(saved) == ["xn--bcher-kva.example # shop"]


def test_s11_invalid_names_are_refused_with_the_reason(gate: Gate, saved: Saved) -> None:
    done = gate("list", "domains", "add", "a.example", "com", "b..example")

    assert done.status == 2
    assert done.err.splitlines()[1:] == [
        '  verification.domains, line 2: "com" is a whole top-level domain; write example.com or *.example.com',
        (
            '  verification.domains, line 3: "b..example" is not a domain name: a label is empty or holds more than '
            "letters, digits, hyphens and underscores"
        ),
    ]
    assert saved.number == 0


def test_s13_adding_a_domain_tells_what_it_matches(gate: Gate) -> None:
    done = gate("list", "domains", "add", "example.com # shop", "*.example.net")

    assert "example.com matches example.com, not mail.example.com\n" in done.err
    assert "*.example.net matches mail.example.net, not example.net\n" in done.err


def test_s14_adding_a_protected_domain_is_allowed_with_a_note(gate: Gate, saved: Saved) -> None:
    gate("list", "protected", "add", "example.com")

    done = gate("list", "domains", "add", "example.com")

    assert done.status == 0
    assert "note: example.com is your own domain." in done.err
    assert entries(saved) == ["example.com"]


def test_an_exception_takes_its_attributes_as_words_and_its_owner_from_the_login(
    gate: Gate, saved: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "anna")

    done = gate(
        "list",
        "exceptions",
        "add",
        "192.0.2.0/24",
        "mode=evaluate",
        "until=2027-01-01",
        "198.51.100.7 owner=bert # printer = old",
    )

    assert done.status == 0
    assert entries(saved, "verification.exceptions") == [
        "192.0.2.0/24 mode=evaluate until=2027-01-01 owner=anna",
        "198.51.100.7 owner=bert # printer = old",
    ]


def test_an_exception_is_shown_with_how_often_it_applied_and_whether_it_expired(
    gate: Gate, sqlite_store: Store
) -> None:
    gate("list", "exceptions", "add", "192.0.2.1 until=2020-01-01", "192.0.2.2 from=bücher.example")
    with sqlite_store.begin() as connection:
        exceptions.count_hits(
            connection,
            {"192.0.2.2 from=xn--bcher-kva.example": 3},
            datetime(2026, 11, 23, 9, 30, tzinfo=UTC),
        )

    shown = gate("list", "exceptions", "show")
    rows = [json.loads(line) for line in gate("list", "exceptions", "show", "--json").out.splitlines()]

    first, second = shown.out.splitlines()
    assert first.endswith("(expired, no message yet)")
    assert second.endswith("(3 messages, the last 2026-11-23 09:30Z)")
    assert [(row["expired"], row["hits"], row["last_hit_at"]) for row in rows] == [
        (True, 0, None),
        (False, 3, "2026-11-23T09:30:00+00:00"),
    ]
    assert "2 of at most 4096 entries" in shown.err


def test_t46_a_very_wide_exception_needs_yes(gate: Gate, saved: Saved, file: File) -> None:
    added = gate("list", "exceptions", "add", "10.0.0.0/8")
    imported = gate("list", "exceptions", "import", "--merge", file("10.0.0.0/8\n"))
    before = saved.number
    done = gate("list", "exceptions", "add", "--yes", "10.0.0.0/8")

    assert (added.status, imported.status, before) == (2, 2, 0)
    assert "wide-10.0.0.0/8: Exception 10.0.0.0/8 is very wide" in added.err
    assert (done.status, saved.number) == (0, 1)


def test_s12_the_last_entry_stays_while_only_listed_domains_are_verified(gate: Gate, saved: Saved) -> None:
    saved.save(
        replaced(Settings(), {"verification.scope": "listed", "verification.domains": ["example.com"]})
    )

    done = gate("list", "domains", "remove", "example.com")

    assert done.status == 2
    assert "nothing would be checked" in done.err
    assert saved.number == 1


# ---- import and export (S18) ----------------------------------------------------


def test_s18_what_was_exported_is_imported_as_it_was(gate: Gate, saved: Saved, file: File) -> None:
    lines = ["192.0.2.0/24 mode=evaluate until=2027-01-01 # office in Kyoto", "* dkim=bücher.example # ü"]
    gate("list", "exceptions", "add", *(f"{line.replace(' #', ' owner=anna #')}" for line in lines))
    exported = gate("list", "exceptions", "export").out

    again = gate("list", "exceptions", "import", "--overwrite", file(exported))
    piped = gate("list", "exceptions", "import", "--overwrite", "-", stdin=exported)

    for done in (again, piped):
        assert (done.status, done.out) == (0, "")
        assert "0 added, 0 removed, 2 unchanged\nrevision 1 (nothing changed)\n" in done.err


def test_s18_merge_keeps_and_overwrite_replaces(gate: Gate, saved: Saved, file: File) -> None:
    gate("list", "domains", "add", "a.example # old", "b.example")
    path = file("A.example # new\r\n\r\nc.example\n")

    merged = gate("list", "domains", "import", "--merge", path)
    after_merge = entries(saved)
    overwritten = gate("list", "domains", "import", "--overwrite", path)

    assert after_merge == ["a.example # old", "b.example", "c.example"]
    assert 'line 1: "a.example # new" changes nothing: the list has "a.example # old"' in merged.err
    assert "1 added, 0 removed, 2 unchanged" in merged.err
    assert entries(saved) == ["a.example # new", "c.example"]
    assert overwritten.out.splitlines() == [
        "verification.domains: 1 added, 2 removed",
        "  - a.example # old",
        "  - b.example",
        "  + a.example # new",
    ]


def test_s18_without_a_terminal_merge_or_overwrite_must_be_said(gate: Gate, saved: Saved, file: File) -> None:
    done = gate("list", "domains", "import", file("a.example\n"))

    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "--merge" in done.err
    assert "--overwrite" in done.err
    assert saved.number == 0


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        pytest.param("merge", ["a.example", "b.example"], id="merge"),
        pytest.param("overwrite", ["b.example"], id="overwrite"),
    ],
)
def test_s18_on_a_terminal_it_is_asked(
    on_terminal: OnTerminal, gate: Gate, saved: Saved, file: File, answer: str, kept: list[str]
) -> None:
    gate("list", "domains", "add", "a.example")

    done = on_terminal(
        "list", "domains", "import", file("b.example\n"), answer=answer, question="(merge, overwrite): "
    )

    assert done.status == 0
    assert entries(saved) == kept


def test_s18_one_bad_line_changes_nothing_and_all_are_listed(gate: Gate, saved: Saved, file: File) -> None:
    gate("list", "domains", "add", "a.example")

    done = gate("list", "domains", "import", "--overwrite", file("b.example\n\ncom\r# ours\nc.example"))

    assert done.status == 2
    lines = done.err.splitlines()
    assert [line.partition(":")[0].strip() for line in lines] == [
        "dmarcgate",
        "verification.domains, line 3",
        "verification.domains, line 4",
    ]
    assert entries(saved) == ["a.example"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(
            b"b\xfccher.example\n", "line 1: octet 0xfc is not UTF-8; save the file as UTF-8", id="latin"
        ),
        pytest.param("a.example".encode("utf-16"), "is UTF-16 text", id="utf-16"),
        pytest.param(b"\n" * (2 * 1024 * 1024 + 1), "is longer than 2 MiB", id="size"),
        pytest.param(
            "".join(f"d{n}.example\n" for n in range(10_001)),
            "holds 10001 entries; the limit is 10000",
            id="entries",
        ),
    ],
)
def test_s18_a_file_beyond_the_limits_is_refused(
    gate: Gate, saved: Saved, file: File, content: str | bytes, told: str
) -> None:
    done = gate("list", "domains", "import", "--merge", file(content))

    assert (done.status, done.err.count("\n")) == (2, 2)
    assert told in done.err
    assert saved.number == 0


def test_a_file_that_is_not_there_is_named(gate: Gate, saved: Saved) -> None:
    done = gate("list", "domains", "import", "--merge", "/nowhere/list.txt")

    assert done.status == 2
    assert "/nowhere/list.txt" in done.err


def test_an_import_is_told_to_programs(gate: Gate, file: File) -> None:
    done = gate("list", "domains", "import", "--merge", "--json", file("a.example\nA.example\n"))

    assert json.loads(done.out) == {
        "revision": 1,
        "changed": True,
        "changes": [
            {
                "setting": "verification.domains",
                "label": "Domain list",
                "added": ["a.example"],
                "removed": [],
            }
        ],
        "added": ["a.example"],
        "removed": [],
        "unchanged": 0,
        "duplicates": [{"line": 2, "given": "a.example", "kept": "a.example"}],
    }
    assert done.err == ""


def test_a_full_list_is_imported_with_a_bar_on_a_terminal_and_without_one_elsewhere(
    on_terminal: OnTerminal, gate: Gate, saved: Saved, file: File
) -> None:
    path = file("".join(f"*.d{n}.example # {n}\n" for n in range(10_000)))

    watched = on_terminal("list", "domains", "import", "--merge", path)
    piped = gate("list", "domains", "import", "--overwrite", path)

    assert (watched.status, piped.status) == (0, 0)
    assert "Reading" in watched.out
    assert "100%" in watched.out
    assert "Reading" not in piped.err
    assert "… and 9980 more" in watched.out
    assert len(entries(saved)) == 10_000
