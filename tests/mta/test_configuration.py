"""The appliance's main.cf and master.cf: as Ansible would write them, and as the installed Postfix reads them."""

import json
import re
import subprocess
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jinja2
import pytest

import appliance.mta
from appliance.lab.postfix import PostfixInstance
from appliance.lab.postfix_programs import clean_environment, find_postfix
from appliance.mta.configuration import Configuration, bounces, main_cf, master_cf
from tests.mta.instances import appliance_below

TEMPLATES = Path(appliance.mta.__file__).parent / "templates"

SMALL = Configuration(hostname="gw.example", inside_domains=("corp.example",))
LARGE = Configuration(
    hostname="gw.example",
    inside_domains=("corp.example", "xn--bcher-kva.example"),
    inside_host="mail.corp.example",
    inside_port=2525,
    inside_tls_level="encrypt",
    internal_networks=("10.0.0.0/8", "[2001:db8::]/32"),
    outgoing_host="smarthost.example",
    outgoing_port=587,
    postmaster="hostmaster@corp.example",
    bounce_domain="bounces.example",
    bounce_endpoint="unix:/run/dmarcgate/other.sock",
    smtp_listen="192.0.2.1:25",
    smtp_processes=50,
    certificate_file="/etc/dmarcgate/chain.pem",
    certificate_key_file="/etc/dmarcgate/key.pem",
    certificate_authorities_file="/etc/dmarcgate/authorities.pem",
    log_file="/var/log/postfix.log",
)
FORMS = [pytest.param(SMALL, id="smallest"), pytest.param(LARGE, id="everything set")]

OLDEST = {"mail_version": "3.5.25", "default_database_type": "hash"}
"""What a Postfix knows of the parameters that the templates ask about, when it knows none of them."""
GUARDED = (
    "known_tcp_ports",
    "non_empty_end_of_header_action",
    "smtpd_forbid_bare_newline",
    "smtpd_forbid_unauth_pipelining",
    "cleanup_replace_stray_cr_lf",
)
NEWEST = OLDEST | dict.fromkeys(GUARDED, "") | {"default_database_type": "lmdb"}


def as_ansible_does(template: str, variables: dict[str, Any]) -> str:
    """With its defaults for Jinja, and with variables of YAML's kinds only."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(template).render(json.loads(json.dumps(variables)))


@pytest.mark.parametrize("configuration", FORMS)
@pytest.mark.parametrize("parameters", [OLDEST, NEWEST], ids=["old Postfix", "new Postfix"])
def test_ansible_writes_the_same_files(configuration: Configuration, parameters: dict[str, str]) -> None:
    variables: dict[str, Any] = {
        f"postfix_{field.name}": getattr(configuration, field.name) for field in fields(configuration)
    }
    variables["postfix_parameters"] = parameters

    written = {path.name: as_ansible_does(path.name, variables) for path in TEMPLATES.iterdir()}

    assert written == {
        "bounces.j2": bounces(configuration),
        "main.cf.j2": main_cf(configuration, parameters),
        "master.cf.j2": master_cf(configuration),
    }


def test_every_variable_has_an_effect() -> None:
    templates = "".join(path.read_text() for path in TEMPLATES.iterdir())

    unused = [
        field.name
        for field in fields(Configuration)
        if not re.search(rf"\bpostfix_{field.name}\b", templates)
    ]

    assert unused == []


@pytest.mark.parametrize("configuration", FORMS)
def test_a_parameter_is_set_once(configuration: Configuration) -> None:
    names = re.findall(r"^(\w+) =", main_cf(configuration, NEWEST), re.MULTILINE)

    assert len(names) == len(set(names))
    assert set(names).issuperset(set(GUARDED) - {"known_tcp_ports"})


def test_an_older_postfix_is_not_told_of_what_it_does_not_know() -> None:
    text = main_cf(LARGE, OLDEST)

    assert "compatibility_level = 2\n" in text
    assert "address_verify_map = btree:" in text
    assert [name for name in GUARDED if f"\n{name}" in text] == []


def test_a_postfix_without_berkeley_db_keeps_its_answers_in_lmdb() -> None:
    assert "address_verify_map = lmdb:$data_directory/verify_cache\n" in main_cf(LARGE, NEWEST)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        pytest.param(
            {"hostname": "gw.example\nmynetworks = 0.0.0.0/0"}, "hostname: .* holds '\\\\n'", id="line"
        ),
        pytest.param(
            {"inside_domains": ("a.example, b.example",)}, "inside_domains: .* holds ','", id="list"
        ),
        pytest.param({"inside_host": "$mynetworks"}, r"inside_host: .* holds '\$'", id="parameter"),
        pytest.param({"inside_domains": ()}, "inside_domains: name at least one", id="no domain"),
        pytest.param({"release_listen": "10026"}, "release_listen: '10026' is not 127.0.0.1:PORT", id="open"),
        pytest.param(
            {"report_listen": "0.0.0.0:25"}, "report_listen: .*whoever reaches it may send", id="any"
        ),
    ],
)
def test_a_value_that_would_change_more_than_itself_is_refused(
    change: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        replace(SMALL, **change)


def test_a_gateway_named_like_an_inside_domain_sends_its_own_mail_inside() -> None:
    """Postfix allows a domain to be of one kind only."""
    text = main_cf(replace(SMALL, hostname="corp.example"), NEWEST)

    assert "virtual_alias" not in text


# ---- as Postfix reads it -----------------------------------------------------------


@pytest.fixture(scope="module", params=["smallest", "everything set"])
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, requires_postfix: None
) -> PostfixInstance:
    """The appliance's form below one folder; not started."""
    configuration = {"smallest": SMALL, "everything set": LARGE}[request.param]
    instance = PostfixInstance(appliance_below(tmp_path_factory.mktemp("postfix"), configuration))
    instance.write()
    return instance


def postconf(instance: PostfixInstance, *options: str) -> list[str]:
    command = ["postconf", *options, "-c", str(instance.configuration_directory)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=20, env=clean_environment()
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def in_force(instance: PostfixInstance) -> dict[str, str]:
    """Every parameter's value, set or not."""
    return {
        name.strip(): value.strip() for name, _, value in (x.partition("=") for x in postconf(instance, "-x"))
    }


@pytest.mark.system
def test_postfix_finds_nothing_to_complain_about(written: PostfixInstance) -> None:
    """Neither unknown nor overridden parameters, nor wrong owners and modes."""
    postconf(written, "-n")
    postconf(written, "-M")

    checked = subprocess.run(
        [written.programs.postfix, "-c", written.configuration_directory, "check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=clean_environment(),
    )

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    assert not written.log_path.exists(), written.log_tail()


REQUIRED = {
    "F1": {
        "milter_default_action": "tempfail",
        "milter_protocol": "6",
        "milter_connect_timeout": "10s",
        "milter_command_timeout": "30s",
        "milter_content_timeout": "60s",
        "non_smtpd_milters": "",
        "smtpd_end_of_data_restrictions": "",
        "receive_override_options": "",
        "smtpd_proxy_filter": "",
        "content_filter": "",
    },
    "T9 smuggling": {
        "smtpd_forbid_bare_newline": "normalize",
        "smtpd_forbid_bare_newline_exclusions": "",
        "smtpd_forbid_unauth_pipelining": "yes",
        "cleanup_replace_stray_cr_lf": "yes",
        "smtpd_discard_ehlo_keywords": "chunking, silent-discard",
        "smtpd_discard_ehlo_keyword_address_maps": "",
    },
    "T3 and T6 what the filter sees": {
        "message_reject_characters": r"\0",
        "smtpd_helo_required": "yes",
        "smtpd_helo_restrictions": "permit_mynetworks, reject_invalid_helo_hostname",
        "strict_rfc821_envelopes": "yes",
        "disable_vrfy_command": "yes",
        "smtpd_delay_reject": "yes",
    },
    "no rewriting": {
        "local_header_rewrite_clients": "",
        "remote_header_rewrite_domain": "",
        "append_dot_mydomain": "no",
        "always_add_missing_headers": "no",
        "masquerade_domains": "",
        "canonical_maps": "",
        "smtp_generic_maps": "",
        "header_checks": "",
        "message_drop_headers": "bcc, resent-bcc",
    },
    "T25 nothing is bounced that could be refused": {
        "smtpd_recipient_restrictions": "permit_mynetworks, reject_unverified_recipient",
        "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
        "unverified_recipient_reject_code": "550",
        "unverified_recipient_defer_code": "450",
        "unverified_recipient_tempfail_action": "defer_if_permit",
        "smtpd_reject_unlisted_recipient": "yes",
        "address_verify_negative_cache": "yes",
        "bounce_queue_lifetime": "1d",
        "maximal_queue_lifetime": "5d",
        "delay_warning_time": "0h",
        "notify_classes": "software",
        "soft_bounce": "no",
    },
    "clients are who they are": {
        "smtpd_authorized_xclient_hosts": "",
        "smtpd_authorized_xforward_hosts": "",
        "smtpd_authorized_verp_clients": "",
        "smtpd_upstream_proxy_protocol": "",
        "smtpd_sasl_auth_enable": "no",
        "smtpd_client_event_limit_exceptions": "",
    },
    "traces": {"enable_long_queue_ids": "yes"},
    "SMTPUTF8": {"smtputf8_enable": "yes"},
    "TLS AGG-35": {
        "smtpd_tls_protocols": "!SSLv2, !SSLv3, !TLSv1, !TLSv1.1",
        "smtpd_tls_mandatory_protocols": "!SSLv2, !SSLv3, !TLSv1, !TLSv1.1",
        "smtp_tls_protocols": "!SSLv2, !SSLv3, !TLSv1, !TLSv1.1",
        "smtp_tls_mandatory_protocols": "!SSLv2, !SSLv3, !TLSv1, !TLSv1.1",
        "smtp_tls_security_level": "may",
    },
}

VARIABLE = {"smtpd_client_event_limit_exceptions": "10.0.0.0/8, [2001:db8::]/32"}
"""What follows the internal networks, where some are set."""

BOUNCES_FIRST = re.compile(r"check_recipient_access regexp:\S+/bounces, ")
"""Who may send to bounce addresses, where there are any."""


@pytest.mark.system
@pytest.mark.parametrize("row", REQUIRED)
def test_t9_t25_f1_postfix_works_by_the_required_values(written: PostfixInstance, row: str) -> None:
    required = REQUIRED[row]
    if in_force(written)["mynetworks"]:
        required = required | {name: VARIABLE[name] for name in required if name in VARIABLE}

    values = in_force(written)

    found = {name: BOUNCES_FIRST.sub("", values.get(name, "unknown")) for name in required}
    assert found == required


STRESSED = re.compile(r"\$\{stress\?\{(\w+)\}:\{(\w+)\}\}|\$\{stress\?(\w+)\}\$\{stress:(\w+)\}")


@pytest.mark.system
@pytest.mark.parametrize(
    ("name", "most"),
    [
        pytest.param(name, most, id=name)
        for name, most in {
            "default_process_limit": 100,
            "smtpd_recipient_limit": 1000,
            "smtpd_hard_error_limit": 20,
            "smtpd_soft_error_limit": 10,
            "smtpd_junk_command_limit": 100,
            "smtpd_client_connection_count_limit": 50,
            "smtpd_recipient_overshoot_limit": 1000,
            "smtpd_timeout": 300,
            "smtpd_starttls_timeout": 300,
            "header_size_limit": 102400,
            "header_address_token_limit": 10240,
            "line_length_limit": 2048,
            "mime_nesting_limit": 100,
            "mime_boundary_length_limit": 2048,
            "hopcount_limit": 50,
            "queue_run_delay": 300,
            "anvil_rate_time_unit": 60,
        }.items()
    ],
)
def test_t42_a_limit_is_at_most_the_default(written: PostfixInstance, name: str, most: int) -> None:
    value = in_force(written)[name]

    calm = STRESSED.sub(lambda found: found[2] or found[4], value)

    assert 0 < int(calm.removesuffix("s")) <= most


@pytest.mark.system
def test_only_the_mail_listener_is_open_and_only_the_other_two_pass_the_filter_by(
    written: PostfixInstance,
) -> None:
    services = [line.split() for line in postconf(written, "-M") if line.split()[1] == "inet"]
    options = [
        (name.strip(), value.strip())
        for name, _, value in (line.partition("=") for line in postconf(written, "-P"))
    ]

    listeners = [service[0] for service in services]
    assert [listener.partition(":")[0] for listener in listeners] == ["127.0.0.1"] * 3
    unfiltered = [name.partition("/")[0] for name, value in options if name.endswith("/smtpd_milters")]
    assert unfiltered == listeners[1:]
    told_a_name = [
        name.partition("/")[0] for name, value in options if name.endswith("xforward_hosts") and value
    ]
    assert told_a_name == listeners[1:]
    assert [value for name, value in options if name.endswith("xclient_hosts")] == ["", ""]


def test_nobody_can_claim_another_address_on_the_appliance() -> None:
    """XCLIENT is the lab's; released mail and reports name themselves by XFORWARD."""
    main, master = main_cf(LARGE, NEWEST), master_cf(LARGE)

    assert "xclient" not in main.lower()
    assert "xforward" not in main.lower()
    assert re.findall(r"authorized_(\w+)_hosts=(.*)", master) == [
        ("xclient", ""),
        ("xforward", "127.0.0.0/8"),
        ("xclient", ""),
        ("xforward", "127.0.0.0/8"),
    ]


@pytest.mark.system
def test_no_service_is_chrooted(written: PostfixInstance) -> None:
    """The filter's socket lies outside the queue, and the column's default differs between systems."""
    services = [line.split() for line in postconf(written, "-M")]

    assert {service[4] for service in services} == {"n"}


def test_f17_the_filter_has_at_most_as_many_connections_as_there_are_processes() -> None:
    [service] = [line for line in master_cf(LARGE).splitlines() if line.startswith("192.0.2.1:25 ")]

    assert service.split()[6:] == ["50", "smtpd"]


OURS = ["bounces_destination_recipient_limit", "return_path"]
"""Named after a transport and a class of restrictions of our own."""


@pytest.mark.system
def test_every_unguarded_parameter_is_known_here(requires_postfix: None) -> None:
    """So that a typing error cannot pass for a parameter of another version."""
    known = find_postfix().parameters

    names = re.findall(r"^(\w+) =", main_cf(LARGE, OLDEST), re.MULTILINE)

    assert [name for name in names if name not in known] == OURS


@pytest.mark.parametrize(
    ("form", "domains"),
    [
        pytest.param(SMALL, "corp.example", id="none"),
        pytest.param(replace(SMALL, bounce_domain="corp.example"), "corp.example", id="an inside domain"),
        pytest.param(replace(SMALL, bounce_domain="gw.example"), "corp.example, gw.example", id="our name"),
        pytest.param(replace(SMALL, bounce_domain="b.example"), "corp.example, b.example", id="a domain of its own"),
    ],
)  # fmt: skip
def test_bnc_05_only_bounces_are_taken_at_a_domain_that_is_there_for_them(
    form: Configuration, domains: str
) -> None:
    text = main_cf(form, NEWEST)

    only_bounces = [form.bounce_domain] if ", " in domains else []
    assert f"\nrelay_domains = {domains}\n" in text
    assert re.findall(r"\{ (\S+) = error:5\.1\.1 this domain takes nothing but", text) == only_bounces
    assert ("\nvirtual_alias_domains = $myhostname\n" in text) == (form.hostname not in domains)
    assert ("\ntransport_maps = " in text) == bool(form.bounce_domain)
    assert ("/^bounces" in bounces(form)) == bool(form.bounce_domain)


def test_bounces_are_refused_as_such_where_the_inside_server_is_not_asked() -> None:
    text = main_cf(replace(LARGE, verify_recipients=False), NEWEST)

    assert (
        "\nsmtpd_recipient_restrictions = check_recipient_access regexp:$config_directory/bounces\n" in text
    )
