"""The settings of how long and how much is kept: each is changed alone, and what the gateway's chores leave shows it."""

from collections.abc import Iterator

import pytest

from appliance.lab.gateway import Gateway
from tests.system.behaviour.keeping import KEPT, Keeper
from tests.system.behaviour.observing import REPORTING
from tests.system.behaviour.post import Owner, Post
from tests.system.conftest import INSIDE
from tests.system.faults import mounted

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory, requires_postfix: None) -> Iterator[Keeper]:
    disk = tmp_path_factory.mktemp("small") / "disk"
    with (
        mounted("-t", "tmpfs", "-o", "size=256m,mode=755", "none", at=disk),
        Gateway(disk / "gateway", inside_domains=(INSIDE,), page=False, workers=1) as running,
    ):
        yield Keeper(
            running, Post(running), Owner.of(running.zone), {"verification.enabled": True, **REPORTING}
        )


@pytest.mark.parametrize("name", KEPT)
def test_pain_24_changing_how_long_or_how_much_is_kept_is_seen(keeper: Keeper, name: str) -> None:
    value, thing = KEPT[name]

    assert keeper.left({}) == {thing: "kept" for _value, thing in KEPT.values()}
    assert keeper.left({name: value})[thing] == "gone"
