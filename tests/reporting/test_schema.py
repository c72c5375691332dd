"""standards.md 13.3: what the schema of aggregate reports takes and what it refuses."""

import io
from importlib import resources

import pytest
from lxml import etree

from reporting.aggregate_check import InvalidReport, ReportCheck, check_report
from reporting.aggregate_xml import Totals

VALID = """<?xml version="1.0"?>
<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0">
  <version>1.0</version>
  <report_metadata>
    <org_name>gateway</org_name><email>d@gateway.test</email><report_id>abc123</report_id>
    <date_range><begin>1774742400</begin><end>1774828799</end></date_range>
  </report_metadata>
  <policy_published><domain>bank.test</domain><p>none</p><sp>none</sp></policy_published>
  <record>
    <row><source_ip>192.0.2.7</source_ip><count>3</count>
      <policy_evaluated><disposition>none</disposition><dkim>fail</dkim><spf>fail</spf></policy_evaluated></row>
    <identifiers><envelope_from>bank.test</envelope_from><header_from>bank.test</header_from></identifiers>
    <auth_results>
      <dkim><domain>bank.test</domain><selector>s</selector><result>fail</result></dkim>
      <spf><domain>bank.test</domain><scope>mfrom</scope><result>fail</result></spf>
    </auth_results>
  </record>
</feedback>"""
SPF = "<spf><domain>bank.test</domain><scope>mfrom</scope><result>fail</result></spf>"
DKIM = "<dkim><domain>bank.test</domain><selector>s</selector><result>fail</result></dkim>"
ENVELOPE_FROM = "<envelope_from>bank.test</envelope_from>"
RANGE_END = "<end>1774828799</end></date_range>"
REASON = "<spf>fail</spf><reason><type>{}</type></reason></policy_evaluated>"
AFTER_RESULTS = "</auth_results>"


def check(old: str, new: str) -> Totals:
    assert old in VALID
    return check_report(io.BytesIO(VALID.replace(old, new, 1).encode()))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("fail", "fail", id="as it is"),
        pytest.param("<version>1.0</version>", "", id="version absent"),
        pytest.param(
            "<org_name>gateway</org_name><email>d@gateway.test</email>",
            "<email>d@gateway.test</email><org_name>gateway</org_name>",
            id="metadata in another order",
        ),
        pytest.param("<p>none</p><sp>none</sp>", "<sp>none</sp><p>none</p>", id="policy in another order"),
        pytest.param(SPF, "", id="no spf"),
        pytest.param(ENVELOPE_FROM, "", id="no envelope_from"),
        pytest.param(ENVELOPE_FROM, "<envelope_from/>", id="empty envelope_from"),
        pytest.param(RANGE_END, RANGE_END + '<error lang="de">kaputt</error>', id="error with lang"),
        pytest.param(
            "</policy_published>",
            '</policy_published><extension><x xmlns="urn:x"/></extension>',
            id="extension after policy_published",
        ),
        pytest.param(AFTER_RESULTS, AFTER_RESULTS + '<x xmlns="urn:x"/>', id="namespaced element in record"),
        pytest.param(
            AFTER_RESULTS, AFTER_RESULTS + '<count xmlns="">x</count>', id="plain element in record"
        ),
    ],
)
def test_valid_reports_are_taken(old: str, new: str) -> None:
    assert check(old, new) == Totals(rows=1, messages=3)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(' xmlns="urn:ietf:params:xml:ns:dmarc-2.0"', "", id="no namespace"),
        pytest.param("<p>none</p>", "<p>none</p><pct>100</pct>", id="pct"),
        pytest.param("<selector>s</selector>", "", id="no selector"),
        pytest.param("mfrom", "helo", id="scope helo"),
        pytest.param(SPF, SPF + SPF, id="two spf"),
        pytest.param(f"{DKIM}\n      {SPF}", SPF + DKIM, id="spf before dkim"),
        pytest.param(
            "<disposition>none</disposition><dkim>fail</dkim>",
            "<dkim>fail</dkim><disposition>none</disposition>",
            id="dkim before disposition",
        ),
        pytest.param("<spf>fail</spf></policy_evaluated>", REASON.format("forwarded"), id="reason forwarded"),
        pytest.param(
            "<spf>fail</spf></policy_evaluated>", REASON.format("sampled_out"), id="reason sampled_out"
        ),
        pytest.param(RANGE_END, RANGE_END + "<error>a</error><error>b</error>", id="two errors"),
        pytest.param(VALID[VALID.index("  <record>") : VALID.index("</feedback>")], "", id="no record"),
        pytest.param(
            "<scope>mfrom</scope><result>fail", "<scope>mfrom</scope><result>hardfail", id="hardfail"
        ),
        pytest.param("<dkim>fail</dkim>", "<dkim>Pass</dkim>", id="Pass"),
        pytest.param("<p>none</p>", "<p>none</p><testing>Y</testing>", id="testing Y"),
        pytest.param(
            "<p>none</p>", "<p>none</p><discovery_method>dns</discovery_method>", id="discovery_method dns"
        ),
        pytest.param("<policy_published>", "<extension/><policy_published>", id="extension too early"),
        pytest.param("<count>3</count>", "", id="no count"),
        pytest.param("<end>1774828799</end>", "", id="no end"),
        pytest.param(VALID[VALID.index("    <row>") : VALID.index("    <identifiers>")], "", id="no row"),
        pytest.param("</feedback>", "", id="cut off"),
        pytest.param(VALID, "", id="empty"),
    ],
)
def test_invalid_reports_are_refused_agg_01(old: str, new: str) -> None:
    with pytest.raises(InvalidReport):
        check(old, new)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        pytest.param("<version>1.0", "<version>1", "version", id="version 1"),
        pytest.param("<version>1.0", "<version>2.0", "version", id="version 2.0"),
        pytest.param("<count>3", "<count>-1", "count", id="count -1"),
        pytest.param("<count>3", "<count>0", "count", id="count 0"),
        pytest.param("<count>3", "<count>+3", "count", id="count +3"),
        pytest.param("<count>3", "<count>1" + "0" * 30, "count", id="count beyond all mail"),
        pytest.param("192.0.2.7", "mail.bank.test", "source_ip", id="source_ip no address"),
        pytest.param("192.0.2.7", "192.0.2.07", "source_ip", id="source_ip with a zero in front"),
        pytest.param("192.0.2.7", "", "source_ip", id="source_ip empty"),
        pytest.param("<end>1774828799", "<end>1774742400", "date_range", id="nothing between begin and end"),
        pytest.param("<begin>1774742400", "<begin>-1", "date_range", id="begin before 1970"),
    ],
)
def test_what_the_schema_lets_pass_is_refused_all_the_same_agg_02(old: str, new: str, what: str) -> None:
    report = VALID.replace(old, new, 1).encode()
    schema = etree.XMLSchema(
        etree.fromstring(resources.files("reporting").joinpath("aggregate.xsd").read_bytes())
    )

    assert schema.validate(etree.fromstring(report))
    with pytest.raises(InvalidReport, match=what):
        check_report(io.BytesIO(report))


RECORD = VALID[VALID.index("  <record>") : VALID.index("</feedback>")]


@pytest.mark.parametrize("piece", [1, 7, 64, 1 << 20], ids=lambda octets: f"{octets} octets at a time")
def test_a_report_may_come_in_any_pieces(piece: int) -> None:
    report = VALID.replace(RECORD, RECORD * 3).encode()
    check = ReportCheck()

    for at in range(0, len(report), piece):
        check.feed(report[at : at + piece])

    assert check.close() == Totals(rows=3, messages=9)


@pytest.mark.parametrize("place", [0, 1, 499, 500, 501, 1234, 1999])
def test_one_wrong_record_among_many_is_found(place: int) -> None:
    records = [RECORD] * 2000
    records[place] = RECORD.replace("<count>3", "<count>-1")

    with pytest.raises(InvalidReport, match="count"):
        check_report(io.BytesIO(VALID.replace(RECORD, "".join(records)).encode()))


def test_every_record_of_many_is_counted() -> None:
    assert check_report(io.BytesIO(VALID.replace(RECORD, RECORD * 2001).encode())) == Totals(2001, 6003)


def test_an_external_entity_is_not_read() -> None:
    doctype = '<!DOCTYPE feedback [<!ENTITY x SYSTEM "file:///etc/hostname">]><feedback'

    with pytest.raises(InvalidReport):
        check_report(io.BytesIO(VALID.replace("<feedback", doctype, 1).replace("abc123", "&x;").encode()))
