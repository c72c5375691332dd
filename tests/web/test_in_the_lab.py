"""An action changed on the page of a running gateway is what the next message meets."""

import re
import secrets
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from appliance.lab.gateway import ADMINISTRATOR, Gateway
from appliance.lab.smtp import Reply, send_message
from appliance.store import quarantine

pytestmark = [pytest.mark.web, pytest.mark.timeout(180)]

PASSWORD = "a long enough password"
IN_FORCE_SECONDS = 5.0  # what the product promises (behaviour S24)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, requires_postfix: None) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("gateway"), inside_domains=("corp.example",)) as running:
        running.zone.txt("_dmarc.bank.example", "v=DMARC1; p=reject")
        running.save(verification__enabled=True)
        yield running


@pytest.fixture
def page(chromium: Browser, gateway: Gateway) -> Iterator[Page]:
    context = chromium.new_context(base_url=gateway.page_url)
    opened = context.new_page()
    opened.set_default_timeout(15_000)
    yield opened
    context.close()


def spoof(gateway: Gateway) -> Reply:
    return send_message(
        gateway.postfix.config.smtp_port,
        mail_from="a@stranger.example",
        rcpt_to=["u@corp.example"],
        octets=(
            f"From: alerts@bank.example\r\nMessage-ID: <{secrets.token_hex(8)}@bank.example>\r\n\r\nHello\r\n".encode()
        ),
        client_ip="198.51.100.7",
    )


def test_s24_s29_s34_an_action_changed_on_the_page_is_in_force_for_the_next_message(
    gateway: Gateway, page: Page
) -> None:
    before = spoof(gateway)
    page.goto("/")
    page.get_by_label("Name").fill(ADMINISTRATOR)
    page.get_by_label("Password").fill(gateway.one_time_password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("New password", exact=True).fill(PASSWORD)
    page.get_by_label(re.compile("again", re.IGNORECASE)).fill(PASSWORD)
    page.get_by_role("button", name=re.compile("password", re.IGNORECASE)).click()

    page.goto("/filtering/dmarc")
    page.get_by_label("p=reject").select_option(label="Quarantine")
    page.get_by_role("button", name="Save changes").click()
    expect(page.get_by_text("Saved as revision 2")).to_be_visible()
    time.sleep(IN_FORCE_SECONDS)
    after = spoof(gateway)

    assert (before.code, after.code) == (550, 250)
    with gateway.store.read() as connection:
        [held] = quarantine.list_held(connection)
    assert held.envelope.queue_id == after.queue_id
    assert held.author_domain == "bank.example"
