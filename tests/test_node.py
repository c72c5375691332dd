"""The node file, and what is said about one that can't be used."""

from pathlib import Path

import pytest

from appliance.node import Endpoint, NodeError, read_node


def write(folder: Path, text: str, name: str = "dmarcgate.toml") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_overlays_go_over_the_node_file_in_the_order_of_their_names(tmp_path: Path) -> None:
    file = write(tmp_path, 'name = "one"\nresolver = "127.0.0.1:5301"\n[filter]\nworkers = 1\n')
    write(tmp_path, 'name = "two"\n', "conf.d/10-name.toml")
    write(tmp_path, 'name = "three"\n[filter]\nlisten = "unix:f.sock"\n', "conf.d/20-name.toml")

    node = read_node(file)

    assert (node.name, node.resolver, node.filter.workers, node.filter.listen) == (
        "three",
        "127.0.0.1:5301",
        1,
        "unix:f.sock",
    )


def test_options_go_over_the_node_file(tmp_path: Path) -> None:
    file = write(tmp_path, '[filter]\nworkers = 1\nlisten = "unix:a"\n')

    node = read_node(file, store="sqlite:///x.db", filter={"listen": "unix:b"})

    assert (node.store, node.filter.listen, node.filter.workers) == ("sqlite:///x.db", "unix:b", 1)


def test_without_a_node_file_the_state_lies_beside_an_sqlite_store_that_is_named(tmp_path: Path) -> None:
    node = read_node(None, store=f"sqlite:///{tmp_path}/mail.db")

    assert node.quarantine == tmp_path / "quarantine"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param('colour = "red"', "colour: unknown key", id="unknown-key"),
        pytest.param("[filter]\nport = 1", "filter.port: unknown key", id="unknown-key-in-table"),
        pytest.param("[filter]\nworkers = 900", "filter.workers", id="out-of-range"),
        pytest.param('resolver = "localhost"', "resolver:", id="endpoint"),
        pytest.param("name = ", "is not TOML", id="syntax"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_file_and_the_key(tmp_path: Path, text: str, says: str) -> None:
    file = write(tmp_path, text)

    with pytest.raises(NodeError) as caught:
        read_node(file)

    message = str(caught.value)
    assert message.startswith(str(file))
    assert says in message
    assert "\n" not in message


def test_a_missing_node_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match=r"absent\.toml: no such file; .*--config"):
        read_node(tmp_path / "absent.toml")


def test_a_mistake_of_an_overlay_names_the_overlay(tmp_path: Path) -> None:
    file = write(tmp_path, "")
    write(tmp_path, "x = 1", "conf.d/local.toml")

    with pytest.raises(NodeError, match=r"local\.toml: x"):
        read_node(file)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("unix:/run/f.sock", Endpoint(path="/run/f.sock")),
        ("inet:127.0.0.1:8891", Endpoint(host="127.0.0.1", port=8891)),
        ("[::1]:53", Endpoint(host="::1", port=53)),
    ],
)
def test_endpoints(text: str, endpoint: Endpoint) -> None:
    assert Endpoint.parse(text) == endpoint


@pytest.mark.parametrize(
    "text", ["unix:", "inet:8891", "host", "127.0.0.1:", "127.0.0.1:70000", "127.0.0.1:²"]
)
def test_an_endpoint_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not|names no path"):
        Endpoint.parse(text)


def test_no_key_of_the_node_file_is_also_a_setting() -> None:
    from appliance.node import Node
    from appliance.settings import Settings

    settings = {leaf for group in Settings().model_dump().values() for leaf in group}

    assert not settings & set(Node.model_fields)
