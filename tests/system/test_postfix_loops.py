"""Mail that cannot arrive ends: in one notice, in a refusal, never in a circle (threats T25, T26)."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from appliance.lab.postfix import PostfixInstance
from appliance.lab.postfix_config import AppliancePostfix
from appliance.lab.smtp import Reply, send_message
from appliance.mta.configuration import Configuration
from tests.mta.inside import SmtpServer
from tests.mta.instances import appliance_below

pytestmark = pytest.mark.system

LETTER = b"From: ann@sender.example\r\nSubject: round and round\r\n\r\nHello.\r\n"
DOMAIN = "corp.example"


@dataclass(frozen=True)
class Circle:
    """Two gateways, each of which takes the other for its inside server, and the world that gets their notices."""

    one: PostfixInstance
    other: PostfixInstance
    world: SmtpServer


def drain(*instances: PostfixInstance) -> None:
    """Wait until they have nothing left to deliver."""
    give_up_at = time.monotonic() + 60
    while any(postfix.queue_length() for postfix in instances):
        assert time.monotonic() < give_up_at, "".join(postfix.log_tail() for postfix in instances)
        time.sleep(0.05)


@pytest.fixture(scope="module")
def circle(tmp_path_factory: pytest.TempPathFactory, requires_postfix: None) -> Iterator[Circle]:
    folder = tmp_path_factory.mktemp("circle")
    with SmtpServer() as world:
        form = Configuration(
            hostname="one.example",
            inside_domains=(DOMAIN,),
            inside_host="127.0.0.1",
            outgoing_host="127.0.0.1",
            outgoing_port=world.port,
            verify_recipients=False,
            filter_endpoint="",
            postmaster="postmaster@elsewhere.example",
        )
        one = appliance_below(folder / "one", form)
        other = appliance_below(
            folder / "other", replace(form, hostname="other.example", inside_port=one.smtp_port)
        )
        one = replace(one, configuration=replace(form, inside_port=other.smtp_port))
        with PostfixInstance(one) as running, PostfixInstance(other) as other_running:
            yield Circle(running, other_running, world)


def send(port: int, mail_from: str, recipient: str = f"bob@{DOMAIN}") -> Reply:
    return send_message(port, mail_from=mail_from, rcpt_to=[recipient], octets=LETTER)


def test_t26_mail_that_goes_in_a_circle_ends_in_one_notice_to_its_sender(circle: Circle) -> None:
    reply = send(circle.one.config.smtp_port, "circling@sender.example")

    assert reply.accepted
    [notice] = circle.world.wait_for("circling@sender.example", seconds=60)
    assert (notice.mail_from, notice.recipients) == ("", ("circling@sender.example",))
    assert b"too many hops" in notice.octets
    drain(circle.one, circle.other)
    hops = re.findall(r"from=<circling@sender\.example>", log(circle.one) + log(circle.other))
    assert len(hops) <= 51
    assert len(circle.world.wait_for("circling@sender.example")) == 1


def test_t26_a_notice_that_goes_in_a_circle_ends_at_the_postmaster_s(circle: Circle) -> None:
    """Its sender is the null sender: nobody else is told, and the postmaster only of what the software does wrong."""
    reply = send(circle.one.config.report_port, "")

    assert reply.accepted
    drain(circle.one, circle.other)
    assert not any("double-bounce" in message.mail_from for message in circle.world.taken)
    assert not any("postmaster@elsewhere.example" in message.recipients for message in circle.world.taken)


def test_t26_a_gateway_whose_inside_server_is_itself_ends_the_circle_too(
    circle: Circle, tmp_path: Path
) -> None:
    itself = with_itself_inside(circle.one.config, tmp_path)

    with PostfixInstance(itself) as postfix:
        reply = send(itself.smtp_port, "mirrored@sender.example")
        [notice] = circle.world.wait_for("mirrored@sender.example", seconds=60)

    assert reply.accepted
    assert b"too many hops" in notice.octets
    assert log(postfix).count("from=<mirrored@sender.example>") <= 51


def with_itself_inside(like: object, folder: Path) -> AppliancePostfix:
    assert isinstance(like, AppliancePostfix)
    config = appliance_below(folder, like.configuration)
    return replace(config, configuration=replace(config.configuration, inside_port=config.smtp_port))


def test_t26_a_circle_of_gateways_that_ask_for_recipients_takes_no_mail(
    circle: Circle, tmp_path: Path
) -> None:
    """Asking itself for the recipient, it would have to answer before it knows."""
    itself = with_itself_inside(circle.one.config, tmp_path)
    asking = replace(itself, configuration=replace(itself.configuration, verify_recipients=True))

    with PostfixInstance(asking) as postfix:
        reply = send(asking.smtp_port, "asked@sender.example")
        drain(postfix)

    assert 400 <= reply.code < 600
    assert "from=<asked@sender.example>, size" not in log(postfix)


def test_t25_without_asking_for_recipients_a_forged_sender_would_get_a_notice(
    circle: Circle, tmp_path: Path
) -> None:
    """What the switch is good for: the same refusal by the inside server, after we have taken the message."""
    with SmtpServer() as inside:
        inside.unknown.add(f"nobody@{DOMAIN}")
        form = replace(with_itself_inside(circle.one.config, tmp_path).configuration, inside_port=inside.port)
        config = appliance_below(tmp_path, form)
        with PostfixInstance(config):
            reply = send(config.smtp_port, "forged@sender.example", f"nobody@{DOMAIN}")
            [notice] = circle.world.wait_for("forged@sender.example", seconds=60)

    assert reply.accepted
    assert b"nobody of that name" in notice.octets


def log(postfix: PostfixInstance) -> str:
    return postfix.log_path.read_text(encoding="utf-8", errors="replace")
