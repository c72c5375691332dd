"""The private Postfix instance, with the system's real programs."""

import os
import re
import signal
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.lab.mailbox import Mailbox
from appliance.lab.ports import PortBusy
from appliance.lab.postfix import PostfixInstance
from appliance.lab.postfix_config import AppliancePostfix, PostfixConfig
from appliance.lab.postfix_programs import PostfixError, PostfixMissing, find_postfix
from appliance.lab.smtp import Stage, send_message
from tests.postfix import config_below, listening_at

pytestmark = pytest.mark.system

MESSAGE = b"From: a@sender.example\r\nMessage-ID: <%s@sender.example>\r\nSubject: one\r\n\r\nHello.\r\n"


def send(port: int, *rcpt_to: str, message_id: bytes = b"m", client_ip: str | None = "192.0.2.1") -> str:
    """Send a message that must be taken, from outside by default; the queue ID."""
    reply = send_message(
        port,
        mail_from="a@sender.example",
        rcpt_to=rcpt_to,
        octets=MESSAGE % message_id,
        client_ip=client_ip,
    )
    assert reply.queue_id is not None, reply
    return reply.queue_id


def send_local(port: int, *rcpt_to: str) -> str:
    return send(port, *rcpt_to, client_ip=None)


def greeting(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        return client.recv(200)


def test_mail_to_an_inside_domain_ends_in_the_inside_mailbox(postfix: PostfixInstance) -> None:
    queue_id = send(postfix.config.smtp_port, "u@inside.example", message_id=b"inside")

    delivered = Mailbox(postfix.inside_maildir).wait_for(message_id="inside@sender.example")

    assert delivered.queue_ids[0] == queue_id
    assert (delivered.return_path, delivered.recipient) == ("a@sender.example", "u@inside.example")
    assert delivered.octets.endswith(MESSAGE % b"inside")


def test_each_recipient_gets_a_copy(postfix: PostfixInstance) -> None:
    queue_id = send(postfix.config.smtp_port, "one@inside.example", "two@inside.example")

    copies = Mailbox(postfix.inside_maildir).wait_until(
        lambda m: queue_id in m.queue_ids, "both copies", count=2
    )

    assert {copy.recipient for copy in copies} == {"one@inside.example", "two@inside.example"}


def test_mail_from_outside_to_other_domains_is_refused(postfix: PostfixInstance) -> None:
    reply = send_message(
        postfix.config.smtp_port,
        mail_from="a@sender.example",
        rcpt_to=["u@elsewhere.example"],
        octets=MESSAGE % b"relay",
    )

    assert (reply.stage, reply.code) == (Stage.RCPT, 554)


def test_a_report_to_any_domain_stays_on_the_machine(postfix: PostfixInstance) -> None:
    queue_id = send_local(postfix.config.report_port, "reports@elsewhere.example")

    delivered = Mailbox(postfix.outside_maildir).wait_for(queue_id=queue_id)

    assert delivered.recipient == "reports@elsewhere.example"


def test_without_its_filter_mail_from_outside_is_put_off(filterless_postfix: PostfixInstance) -> None:
    reply = send_message(
        filterless_postfix.config.smtp_port,
        mail_from="a@sender.example",
        rcpt_to=["u@inside.example"],
        octets=MESSAGE % b"early",
        client_ip="192.0.2.1",
    )

    assert reply.code == 451


@pytest.mark.parametrize("listener", ["release_port", "report_port"])
def test_released_mail_and_reports_do_not_ask_the_filter(
    filterless_postfix: PostfixInstance, listener: str
) -> None:
    queue_id = send_local(getattr(filterless_postfix.config, listener), "u@inside.example")

    delivered = Mailbox(filterless_postfix.inside_maildir).wait_for(queue_id=queue_id)
    assert delivered.recipient == "u@inside.example"


def test_the_release_listener_takes_no_borrowed_address(postfix: PostfixInstance) -> None:
    reply = send_message(
        postfix.config.release_port,
        mail_from="a@sender.example",
        rcpt_to=["u@inside.example"],
        octets=MESSAGE % b"x",
        client_ip="192.0.2.1",
    )

    assert (reply.stage, reply.accepted) == (Stage.XCLIENT, False)


@pytest.mark.parametrize("client_ip", ["198.51.100.7", "2001:db8::7"])
def test_a_client_address_of_either_family_can_be_borrowed(postfix: PostfixInstance, client_ip: str) -> None:
    reply = send_message(
        postfix.config.smtp_port,
        mail_from="a@sender.example",
        rcpt_to=["u@inside.example"],
        octets=MESSAGE % b"borrowed",
        client_ip=client_ip,
        helo="mx.sender.example",
    )

    delivered = Mailbox(postfix.inside_maildir).wait_for(queue_id=reply.queue_id)
    assert "from mx.sender.example" in delivered.texts("Received")[0]
    assert f"{client_ip}]" in delivered.texts("Received")[0]


def test_the_lab_adds_to_the_appliance_s_settings_and_changes_none(postfix: PostfixInstance) -> None:
    """So what the tests of the lab see is what the appliance does."""
    config = postfix.config
    ours = AppliancePostfix(
        directory=config.directory,
        smtp_port=config.smtp_port,
        release_port=config.release_port,
        report_port=config.report_port,
        configuration=config.form,
    )

    main_cf = config.main_cf(postfix.programs)

    assert main_cf.startswith(ours.main_cf(postfix.programs))
    assert config.master_cf().startswith(ours.master_cf())
    names = re.findall(r"^(\w+) =", main_cf, re.MULTILINE)
    assert [name for name in names if names.count(name) > 1] == []


@pytest.mark.parametrize(
    ("helo", "header", "code"),
    [
        pytest.param("a@b;dmarc=pass", b"Subject: x\r\n", 501, id="T6 HELO that is no name"),
        pytest.param("client.example", b"Subject: x\0y\r\n", 550, id="A3 NUL"),
    ],
)
def test_what_could_mislead_the_filter_is_refused(
    postfix: PostfixInstance, helo: str, header: bytes, code: int
) -> None:
    reply = send_message(
        postfix.config.smtp_port,
        mail_from="a@sender.example",
        rcpt_to=["u@inside.example"],
        octets=header + b"\r\nx\r\n",
        helo=helo,
        client_ip="192.0.2.1",
    )

    assert reply.code == code


@pytest.mark.parametrize("mail_from", ["(any@legit.example", "legit.example(a.att.example"])
def test_malformed_envelope_senders_are_refused(postfix: PostfixInstance, mail_from: str) -> None:
    """A2, A5."""
    reply = send_message(
        postfix.config.smtp_port,
        mail_from=mail_from,
        rcpt_to=["u@inside.example"],
        octets=MESSAGE % b"x",
        client_ip="192.0.2.1",
    )

    assert (reply.stage, reply.code) == (Stage.MAIL, 501)


def test_an_instance_works_below_a_folder_that_only_root_can_enter(
    tmp_path: Path, requires_postfix: None
) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    instance = PostfixInstance(config_below(home / "postfix"))
    instance.write()

    with instance, listening_at(instance.filter_socket) as listener:
        listener.settimeout(20)
        queue_id = send_local(instance.config.release_port, "u@inside.example")
        Mailbox(instance.inside_maildir).wait_for(queue_id=queue_id)
        with (
            socket.create_connection(("127.0.0.1", instance.config.smtp_port)),
            listener.accept()[0] as milter,
        ):
            assert milter.recv(100)[4:5] == b"O", "the negotiation of options opens the milter protocol"
        assert "/smtpd[" in instance.log_path.read_text()
        assert (instance.directory / "mailbox" / "inside").is_dir()


def test_stop_leaves_no_process_and_a_second_stop_does_nothing(config: PostfixConfig) -> None:
    with PostfixInstance(config) as instance:
        processes = instance._processes()

    instance.stop()

    assert processes
    assert not instance.running
    assert not any(Path(f"/proc/{pid}/cwd").exists() for pid in processes)


def test_an_instance_whose_master_was_killed_stops_and_starts_again(config: PostfixConfig) -> None:
    instance = PostfixInstance(config)
    with instance:
        os.kill(int((instance.queue_directory / "pid" / "master.pid").read_text()), signal.SIGKILL)
        instance.stop()

        instance.start()

        assert send_local(config.release_port, "u@inside.example")


def test_mail_that_cannot_be_delivered_counts_as_queued(config: PostfixConfig) -> None:
    with PostfixInstance(config) as instance:
        mailbox = instance.queue_directory / "mailbox"
        os.chown(mailbox, 0, 0)

        send_local(config.release_port, "u@inside.example")

        assert instance.queue_length() == 1


def test_a_busy_port_is_named_and_nothing_starts(config: PostfixConfig) -> None:
    instance = PostfixInstance(config)
    with (
        socket.create_server(("127.0.0.1", config.release_port)),
        pytest.raises(PortBusy) as trouble,
        instance,
    ):
        pass

    assert f"port {config.release_port} of 127.0.0.1, wanted for released mail, is in use" in str(
        trouble.value
    )
    assert not instance.running


@pytest.mark.parametrize(
    "setting",
    [
        pytest.param("inet_interfaces = 203.0.113.77", id="seen while it runs, told in its log"),
        pytest.param("mail_owner = 203.0.113.77", id="seen before there is a log"),
    ],
)
def test_a_failed_start_says_why_and_leaves_nothing_running(config: PostfixConfig, setting: str) -> None:
    instance = PostfixInstance(config)
    instance.write()
    with (instance.configuration_directory / "main.cf").open("a") as main_cf:
        main_cf.write(setting + "\n")

    with pytest.raises(PostfixError, match=r"203\.0\.113\.77"):
        instance.start()

    assert not instance.running


def test_a_second_start_names_the_command_that_stops_the_first(config: PostfixConfig) -> None:
    with PostfixInstance(config), pytest.raises(PostfixError, match=r"postfix -c \S+/etc stop"):
        PostfixInstance(config).start()


def test_changed_settings_are_in_force_after_a_reload(config: PostfixConfig) -> None:
    with PostfixInstance(config) as instance:
        changed = PostfixInstance(replace(config, hostname="other.example"))
        changed.write()

        instance.reload()

        assert b"other.example" in greeting(config.release_port)


def test_a_folder_that_postfix_cannot_name_is_refused(tmp_path: Path, requires_postfix: None) -> None:
    with pytest.raises(PostfixError, match="choose a folder without spaces"):
        PostfixInstance(config_below(tmp_path / "my lab"))


def test_a_user_who_is_not_root_is_told_so(config: PostfixConfig) -> None:
    instance = PostfixInstance(config)
    os.seteuid(65534)
    try:
        with pytest.raises(PostfixError, match="by root only: run the same command with sudo"):
            instance.write()
    finally:
        os.seteuid(0)


def test_a_missing_postfix_is_answered_with_the_command_that_installs_it(tmp_path: Path) -> None:
    with pytest.raises(PostfixMissing, match=r"Postfix is not installed: .*postfix$"):
        find_postfix(str(tmp_path))
