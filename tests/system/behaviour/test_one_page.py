"""The DMARC page by mail: everything on it is saved together or not at all, and by administrators only (S34)."""

import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import cast

import pytest
from flask.testing import FlaskClient
from werkzeug.wrappers import Response

from appliance.lab.gateway import Gateway
from appliance.store import accounts
from appliance.store.accounts import Role
from tests.system.behaviour.observing import (
    STRANGER,
    current_number,
    held_copy,
    mail,
    publish,
    put_in_force,
    report_rows,
    texts,
)
from tests.system.conftest import INSIDE, Outsider
from tests.web.visitor import PASSWORD, Page, Visitor

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

EXEMPT = "203.0.113.9"
ON: dict[str, object] = {"verification.enabled": True}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, requires_postfix: None) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("gateway"), inside_domains=(INSIDE,)) as running:
        with running.store.begin() as connection:
            for name, role in (("anna", Role.ADMIN), ("oscar", Role.OPERATOR), ("vera", Role.VIEWER)):
                accounts.create(connection, name, PASSWORD, role, must_change=False)
        yield running


class OverHttp:
    """Asks the running page as Flask's test client would ask the program."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())

    def get(self, path: str, *, follow_redirects: bool) -> Response:
        assert follow_redirects
        return self._ask(urllib.request.Request(self._url + path))

    def post(
        self, path: str, *, data: dict[str, str], follow_redirects: bool, headers: dict[str, str] | None
    ) -> Response:
        assert follow_redirects
        body = urllib.parse.urlencode(data).encode("ascii")
        return self._ask(urllib.request.Request(self._url + path, body, headers or {}))

    def _ask(self, request: urllib.request.Request) -> Response:
        try:
            with self._opener.open(request, timeout=60) as answer:
                return Response(answer.read(), answer.status, content_type="text/html; charset=utf-8")
        except urllib.error.HTTPError as refused:
            with refused:
                return Response(refused.read(), refused.code, content_type="text/html; charset=utf-8")


def at_the_page(gateway: Gateway, name: str) -> Visitor:
    visitor = Visitor(cast("FlaskClient", OverHttp(gateway.page_url)))
    visitor.sign_in(name)
    return visitor


S34 = {
    "verification.enabled",
    "verification.x_header",
    "verification.scope",
    "verification.domains",
    "verification.exceptions",
    "verification.actions.none",
    "verification.actions.quarantine",
    "verification.actions.reject",
    "verification.actions.no_record",
    "reports.enabled",
}


def controls(page: Page) -> set[str]:
    """The names of the controls on *page*; a switch that is off has no value, but an id."""
    return {*page.values, *(id_ for id_ in page.ids if id_)}


def test_s34_all_of_it_is_on_one_page_and_saved_together(gateway: Gateway, outsider: Outsider) -> None:
    listed, unlisted = publish(gateway, "p=none"), publish(gateway, "p=reject")
    put_in_force(gateway, {})
    before = current_number(gateway)
    anna = at_the_page(gateway, "anna")
    page = anna.get("/filtering/dmarc")

    saved = anna.save(
        page,
        {
            "verification.enabled": "on",
            "verification.x_header": "on",
            "verification.scope": "listed",
            "verification.domains": listed,
            "verification.exceptions": EXEMPT,
            "verification.actions.none": "quarantine",
            "verification.actions.reject": "quarantine",
            "reports.enabled": "on",
            "reports.organization": "Corp",
            "reports.address": "dmarc@corp.example",
            "reports.readiness_override": "a test",
        },
    )
    gateway.await_revision(before + 1)

    assert controls(page) >= S34
    assert f"Saved as revision {before + 1}." in saved.text
    spoof = outsider.send(mail(f"a@{listed}"), mail_from=f"a@{listed}")
    exempt = outsider.send(mail(f"a@{listed}"), mail_from=f"a@{listed}", client_ip=EXEMPT)
    other = outsider.send(mail(f"a@{unlisted}"), mail_from=f"a@{unlisted}")
    assert [s.event.revision for s in (spoof, exempt, other)] == [before + 1] * 3
    assert (spoof.fate, exempt.event.skip, other.event.skip) == ("quarantined", "exception", "scope")
    assert texts(held_copy(gateway, spoof.event.event_id), "X-DMARC-Result")[0].startswith("fail")
    assert [count for _row, count in report_rows(gateway, listed)] == [1]
    assert report_rows(gateway, unlisted) == []


def test_s34_one_mistake_among_many_changes_and_nothing_is_saved(
    gateway: Gateway, outsider: Outsider
) -> None:
    domain = publish(gateway, "p=reject")
    before = put_in_force(gateway, ON)
    anna = at_the_page(gateway, "anna")

    refused = anna.change(
        {
            "verification.actions.reject": "deliver",
            "verification.x_header": "on",
            "verification.exceptions": f"{STRANGER}\r\n192.0.2.1/24",
        }
    )

    assert (refused.status, current_number(gateway)) == (422, before)
    assert "Line 2" in refused.text
    assert "write 192.0.2.0/24" in refused.text
    sent = outsider.send(mail(f"a@{domain}"), mail_from=f"a@{domain}")
    assert (sent.fate, sent.event.skip, sent.event.revision) == ("rejected", "", before)


@pytest.mark.parametrize("name", ["oscar", "vera"])
def test_s34_who_may_not_change_it_sees_it_and_changes_nothing(
    gateway: Gateway, outsider: Outsider, name: str
) -> None:
    domain = publish(gateway, "p=reject")
    before = put_in_force(
        gateway, ON | {"verification.exceptions": [f"{EXEMPT} # the scanner"], "verification.x_header": True}
    )
    visitor = at_the_page(gateway, name)

    page = visitor.get("/filtering/dmarc")
    refused = visitor.save(
        page, {"verification.actions.reject": "deliver"}, without=("verification.enabled",)
    )

    assert controls(page) >= S34
    assert page.values["verification.exceptions"] == f"{EXEMPT} # the scanner"
    assert page.values["verification.enabled"] == "on"
    assert "Save changes" not in page.text
    assert '<fieldset class="all" disabled>' in page.html
    assert (refused.status, current_number(gateway)) == (403, before)
    assert outsider.send(mail(f"a@{domain}"), mail_from=f"a@{domain}").fate == "rejected"
