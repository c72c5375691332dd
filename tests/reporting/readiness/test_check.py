"""The readiness check measures what receivers will see, and says how to mend it (AGG-34)."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_address

import pytest

from appliance.lab.nameserver import Behaviour
from appliance.node import Node
from appliance.store import keys, readiness
from appliance.store import settings as stored_settings
from appliance.store.keys import Algorithm
from reporting.lmtp import BounceServer
from reporting.readiness import Level, Subject
from reporting.readiness.check import NoIdentity, check_readiness
from reporting.readiness.postfix import refusal_of
from tests.reporting.readiness.conftest import ADDRESS, DOMAIN, NAME, Change, Reporter

pytestmark = pytest.mark.system

REVERSE = ip_address(ADDRESS).reverse_pointer
IPV6 = "2001:db8::25"


def test_agg_34_a_gateway_with_everything_published_passes(reporter: Reporter) -> None:
    result = reporter.check()

    assert result.passed
    told = {measure.subject: measure.measured for measure in result.measures if measure.level is Level.OK}
    assert told[Subject.WAY_OUT].startswith(f"Postfix ({NAME}) takes reports at 127.0.0.1:")
    assert told[Subject.ADDRESS] == f"{ADDRESS}, as told"
    assert told[Subject.HELO] == f"{NAME} leads to {ADDRESS}"
    assert told[Subject.REVERSE] == f"{ADDRESS} is called {NAME}, which leads back to it"
    assert told[Subject.SPF] == f"{DOMAIN}: pass for {ADDRESS}"
    assert told[Subject.KEY].endswith(f"-rsa._domainkey.{DOMAIN} (rsa): our key")
    assert told[Subject.DMARC] == f"{DOMAIN}: pass by SPF and DKIM from {ADDRESS}"
    assert told[Subject.LOOP] == f"_dmarc.{DOMAIN} asks for no reports to ourselves"
    assert told[Subject.QUEUE] == "0 messages wait in Postfix's queue, none longer than an hour"
    assert {measure.subject for measure in result.measures} == set(Subject)
    assert all(measure.remedy for measure in result.measures if measure.level is not Level.OK)


def test_agg_34_a_passed_check_is_kept_and_lets_reports_be_switched_on(reporter: Reporter) -> None:
    reporter.check()

    reporter.save(enabled=True)

    with reporter.store.read() as connection:
        reports = stored_settings.current(connection).settings.reports
        last = readiness.latest(connection, readiness.identity_of(reports))
    assert reports.enabled
    assert last is not None
    document = json.loads(last.document)
    assert (document["passed"], document["organization"], document["outgoing"]) == (
        True,
        "Corp & Söhne",
        [ADDRESS],
    )


def unpublish(name: str, record_type: str) -> Change:
    return lambda reporter: reporter.zone.remove(name, record_type)


def text(name: str, *texts: str) -> Change:
    return lambda reporter: reporter.zone.txt(name, *texts)


def no_answer(name: str, record_type: str) -> Change:
    return lambda reporter: reporter.zone.misbehave(name, Behaviour.SERVFAIL, record_type)


def bounces_at(domain: str, spf: str) -> Change:
    def change(reporter: Reporter) -> None:
        reporter.save(bounce_domain=domain)
        reporter.zone.mx(domain, NAME)
        reporter.zone.txt(domain, spf)

    return change


@pytest.mark.parametrize(
    ("change", "subject", "level", "measured", "remedy"),
    [
        pytest.param(
            unpublish(REVERSE, "PTR"),
            Subject.REVERSE,
            Level.FAILING,
            f"{ADDRESS} has no name",
            f"PTR {NAME}.",
            id="no reverse DNS",
        ),
        pytest.param(
            lambda reporter: reporter.zone.ptr(REVERSE, "pool-25.isp.test"),
            Subject.REVERSE,
            Level.FAILING,
            "is called pool-25.isp.test, which does not lead back to it",
            REVERSE,
            id="reverse DNS not confirmed",
        ),
        pytest.param(
            lambda reporter: (
                reporter.zone.ptr(REVERSE, "mx1.isp.test"),
                reporter.zone.a("mx1.isp.test", ADDRESS),
            ),
            Subject.REVERSE,
            Level.WARNING,
            f"is called mx1.isp.test, but Postfix says {NAME}",
            "want both names to be one",
            id="reverse DNS of another name",
        ),
        pytest.param(
            no_answer(REVERSE, "PTR"),
            Subject.REVERSE,
            Level.FAILING,
            f"{REVERSE}: SERVFAIL",
            "try again",
            id="reverse DNS can't be told",
        ),
        pytest.param(
            unpublish(NAME, "A"),
            Subject.HELO,
            Level.FAILING,
            f"{NAME} has no address, not {ADDRESS}",
            f"publish {NAME}. A {ADDRESS}",
            id="HELO name without address",
        ),
        pytest.param(
            lambda reporter: reporter.zone.a(NAME, "192.0.2.99"),
            Subject.HELO,
            Level.FAILING,
            f"{NAME} has 192.0.2.99, not {ADDRESS}",
            "set myhostname",
            id="HELO name leads elsewhere",
        ),
        pytest.param(
            unpublish(DOMAIN, "TXT"),
            Subject.SPF,
            Level.FAILING,
            f"{DOMAIN}: none for {ADDRESS}",
            f'TXT "v=spf1 ip4:{ADDRESS} -all"',
            id="no SPF record",
        ),
        pytest.param(
            text(DOMAIN, "v=spf1 ip4:192.0.2.1 -all"),
            Subject.SPF,
            Level.FAILING,
            f"{DOMAIN}: fail for {ADDRESS}",
            f"add ip4:{ADDRESS} to the SPF record",
            id="SPF names others",
        ),
        pytest.param(
            text(DOMAIN, "v=spf1 -all", "v=spf1 +all"),
            Subject.SPF,
            Level.FAILING,
            f"{DOMAIN}: permerror",
            f"dmarcgate lookup {DOMAIN}",
            id="SPF unusable",
        ),
        pytest.param(
            no_answer(DOMAIN, "TXT"),
            Subject.SPF,
            Level.FAILING,
            f"{DOMAIN}: temperror",
            "try again",
            id="SPF can't be told",
        ),
        pytest.param(
            unpublish(f"_dmarc.{DOMAIN}", "TXT"),
            Subject.DMARC,
            Level.FAILING,
            f"{DOMAIN} has no DMARC record",
            f'publish at _dmarc.{DOMAIN}: TXT "v=DMARC1; p=reject"',
            id="no DMARC record",
        ),
        pytest.param(
            no_answer(f"_dmarc.{DOMAIN}", "TXT"),
            Subject.DMARC,
            Level.FAILING,
            "policy discovery",
            "try again",
            id="DMARC can't be told",
        ),
        pytest.param(
            bounces_at("b.other.test", f"v=spf1 ip4:{ADDRESS} -all"),
            Subject.DMARC,
            Level.WARNING,
            "pass from 192.0.2.25, but by DKIM alone",
            "reports.bounce_domain",
            id="bounce domain of another organization",
        ),
        pytest.param(
            bounces_at("b.other.test", f"v=spf1 ip4:{ADDRESS} -all"),
            Subject.BOUNCES,
            Level.FAILING,
            "Relay access denied",
            "let Postfix take mail for the bounce domain",
            id="bounces are refused",
        ),
        pytest.param(
            text(f"_dmarc.{DOMAIN}", f"v=DMARC1; p=reject; rua=mailto:x@far.test,mailto:dmarc@{DOMAIN}"),
            Subject.LOOP,
            Level.WARNING,
            f"about our reports, to dmarc@{DOMAIN}",
            "a record without rua",
            id="reports about reports",
        ),
        pytest.param(
            unpublish(DOMAIN, "MX"),
            Subject.BOUNCES,
            Level.FAILING,
            f"nobody can send mail to {DOMAIN}",
            f"MX 10 {NAME}.",
            id="no way for bounces",
        ),
        pytest.param(
            lambda reporter: reporter.zone.set(DOMAIN, "MX", "0 ."),
            Subject.BOUNCES,
            Level.FAILING,
            f"nobody can send mail to {DOMAIN}",
            f"MX 10 {NAME}.",
            id="null MX",
        ),
        pytest.param(
            lambda reporter: (
                reporter.zone.mx(DOMAIN, "mx.far.test"),
                reporter.zone.a("mx.far.test", "192.0.2.99"),
            ),
            Subject.BOUNCES,
            Level.WARNING,
            "goes to mx.far.test, which does not look like this machine",
            "hands bounces+",
            id="bounces go elsewhere",
        ),
        pytest.param(
            no_answer("com", "TXT"),
            Subject.NAME_SERVER,
            Level.FAILING,
            "does not answer (SERVFAIL)",
            "start unbound",
            id="name server",
        ),
    ],
)
def test_agg_34_each_measure_sees_what_is_wrong_and_tells_how_to_mend_it(
    reporter: Reporter, change: Change, subject: Subject, level: Level, measured: str, remedy: str
) -> None:
    change(reporter)

    found = reporter.measure(subject)

    assert (found.subject, found.level) == (subject, level)
    assert measured in found.measured
    assert remedy in found.remedy


def test_agg_34_what_fails_is_kept_as_failed(reporter: Reporter) -> None:
    reporter.zone.remove(DOMAIN, "TXT")

    result = reporter.check()

    with reporter.store.read() as connection:
        reports = stored_settings.current(connection).settings.reports
        assert not result.passed
        assert not readiness.passed(connection, readiness.identity_of(reports), result.at)


def test_agg_34_without_signature_and_spf_dmarc_fails(reporter: Reporter) -> None:
    reporter.check()
    with reporter.store.read() as connection:
        [key] = keys.keys(connection)
    reporter.zone.remove(key.record_name)
    reporter.zone.txt(DOMAIN, "v=spf1 -all")

    result = reporter.check()

    failing = {measure.subject: measure for measure in result.measures if measure.level is Level.FAILING}
    assert failing.keys() == {Subject.SPF, Subject.KEY, Subject.DMARC}
    assert failing[Subject.KEY].measured.endswith("(rsa): no TXT record")
    assert f"dmarcgate key show {key.selector}" in failing[Subject.KEY].remedy
    assert "neither SPF nor DKIM" in failing[Subject.DMARC].measured


def test_a_key_that_is_not_published_yet_is_told_with_what_stands_in_its_place(reporter: Reporter) -> None:
    with reporter.store.read() as connection:
        [key] = keys.keys(connection)
    reporter.zone.txt(key.record_name, "v=DKIM1; p=")

    found = reporter.measure(Subject.KEY)

    assert found.level is Level.FAILING
    assert (
        found.measured
        == f"{key.record_name} is not published: a record that gives no usable key: key revoked"
    )
    assert "dmarcgate key show" in found.remedy


def test_without_any_key_the_remedy_is_to_make_one(reporter: Reporter) -> None:
    reporter.save(address="dmarc@keyless.test")

    found = reporter.measure(Subject.KEY)

    assert (found.level, found.measured) == (Level.FAILING, "there is no key for keyless.test")
    assert found.remedy == "make one: dmarcgate key generate"


def test_a_second_key_is_looked_at_as_well(reporter: Reporter) -> None:
    second = keys.generate(reporter.store, DOMAIN, Algorithm.ED25519, actor="ann", now=datetime.now(UTC))
    reporter.publish(second)

    subjects = [m.measured for m in reporter.check().measures if m.subject is Subject.KEY]

    assert [text.rpartition(" (")[2] for text in subjects] == ["rsa): our key", "ed25519): our key"]


def test_bounces_below_the_report_domain_are_aligned(reporter: Reporter) -> None:
    bounces_at(f"b.{DOMAIN}", f"v=spf1 ip4:{ADDRESS} -all")(reporter)

    result = reporter.check()

    told = {measure.subject: measure.measured for measure in result.measures}
    assert told[Subject.DMARC] == f"{DOMAIN}: pass by SPF and DKIM from {ADDRESS}"


def test_each_address_is_measured(reporter: Reporter) -> None:
    result = reporter.check(ADDRESS, IPV6)

    failing = [measure for measure in result.measures if measure.level is Level.FAILING]
    assert {measure.subject for measure in failing} == {Subject.HELO, Subject.REVERSE, Subject.SPF}
    assert all(IPV6 in measure.measured for measure in failing)
    assert f"add ip6:{IPV6}" in next(m.remedy for m in failing if m.subject is Subject.SPF)


def test_agg_34_listeners_that_do_not_answer_fail_with_their_place(
    reporter: Reporter, free_port: Callable[[], int]
) -> None:
    place = f"127.0.0.1:{free_port()}"
    values = reporter.node.model_dump()
    values["postfix"] |= {"reports": place, "smtp": place}
    reporter.node = Node.model_validate(values)

    result = reporter.check()

    failing = {m.subject: m for m in result.measures if m.level is Level.FAILING}
    assert failing[Subject.WAY_OUT].measured.startswith(f"no answer at {place}")
    assert "postfix.reports of the node file" in failing[Subject.WAY_OUT].remedy
    assert failing[Subject.BOUNCES].measured.startswith(f"no answer at {place}")
    assert "postfix.smtp of the node file" in failing[Subject.BOUNCES].remedy


def test_agg_34_bounces_do_not_get_in_while_the_reports_service_is_down(
    reporter: Reporter, bounces: BounceServer
) -> None:
    before = reporter.measure(Subject.BOUNCES)
    bounces.stop()

    after = reporter.measure(Subject.BOUNCES)

    assert (before.level, after.level) == (Level.OK, Level.FAILING)
    assert "Postfix refuses a bounce for bounces+readiness" in after.measured
    assert "the reports service run" in after.remedy


def test_agg_34_only_our_own_probe_is_taken(reporter: Reporter) -> None:
    """BNC-05: whoever makes up an address like it is refused."""
    made_up = f"bounces+readiness0123.{'0' * 12}@{DOMAIN}"

    refusal = refusal_of(reporter.node.postfix.smtp, made_up, NAME)

    assert refusal.startswith("550 ")


def test_without_a_name_there_is_nothing_to_check(reporter: Reporter) -> None:
    reporter.save(organization="")

    with pytest.raises(NoIdentity, match=r"set reports\.organization and reports\.address first"):
        check_readiness(reporter.store, reporter.node, datetime.now(UTC))
