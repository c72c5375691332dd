"""The pages in a real browser, with scripts and without, in light and dark, wide and narrow."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, Page, expect

from appliance.settings import Action
from appliance.store.engine import Store
from tests.web.service import running_service
from tests.web.visitor import PASSWORD, SettingsOf

pytestmark = pytest.mark.web

WIDTHS = {"wide": 1280, "narrow": 320}


@dataclass(frozen=True)
class Site:
    """The running settings page and its store."""

    address: str
    store: Store

    @property
    def saved(self) -> SettingsOf:
        return SettingsOf(self.store)


@pytest.fixture
def site(store: Store, free_port: Callable[[], int], tmp_path: Path) -> Iterator[Site]:
    address = f"127.0.0.1:{free_port()}"
    with running_service(store.url, address, tmp_path):
        yield Site(f"http://{address}", store)


@contextmanager
def opened(
    chromium: Browser, site: Site, *, scripts: bool = True, scheme: str = "light", width: int = 1280
) -> Iterator[Page]:
    """A fresh browser window; whatever the page's policy forbids, or a script gets wrong, fails the test."""
    context = chromium.new_context(
        base_url=site.address,
        java_script_enabled=scripts,
        color_scheme="dark" if scheme == "dark" else "light",
        viewport={"width": width, "height": 900},
    )
    page = context.new_page()
    page.set_default_timeout(15_000)
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    try:
        yield page
    finally:
        context.close()
    refused = [
        text for text in troubles if "status of 4" not in text
    ]  # the browser's own note of a 4xx answer
    assert refused == []


def sign_in(page: Page, name: str = "anna") -> None:
    page.goto("/login")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Status")).to_be_visible()


def save(page: Page) -> None:
    page.get_by_role("button", name="Save changes").click()


@pytest.mark.parametrize("scripts", [pytest.param(True, id="scripts"), pytest.param(False, id="no scripts")])
def test_an_administrator_signs_in_changes_an_action_and_saves(
    chromium: Browser, site: Site, scripts: bool
) -> None:
    with opened(chromium, site, scripts=scripts) as page:
        sign_in(page)
        page.get_by_role("link", name="DMARC", exact=True).click()
        page.get_by_label("Enable DMARC").check()
        page.get_by_label("p=reject").select_option(label="Quarantine")
        page.get_by_label("Exception list").fill("192.0.2.0/24 # office\n2001:db8::1")
        save(page)

        expect(page.get_by_text("Saved as revision 1.")).to_be_visible()
        expect(page.get_by_label("p=reject")).to_have_value("quarantine")
        expect(page.get_by_label("Exception list")).to_have_value("192.0.2.0/24 # office\n2001:db8::1")

    verification = site.saved.current().settings.verification
    assert verification.enabled
    assert verification.actions.reject is Action.QUARANTINE


@pytest.mark.parametrize("scripts", [pytest.param(True, id="scripts"), pytest.param(False, id="no scripts")])
def test_a_mistake_gets_the_focus_and_leads_to_its_field(
    chromium: Browser, site: Site, scripts: bool
) -> None:
    with opened(chromium, site, scripts=scripts) as page:
        sign_in(page)
        page.goto("/filtering/dmarc")
        page.get_by_label("Exception list").fill("10.0.0.0/16\n1.2.3")
        save(page)

        expect(page.locator("#report")).to_be_focused()
        page.locator("#report").get_by_role("link", name="Exception list, line 2").click()

        assert page.url.endswith("#verification.exceptions")
        expect(page.get_by_label("Exception list")).to_have_value("10.0.0.0/16\n1.2.3")
        expect(page.get_by_label("Exception list")).to_be_in_viewport()


@pytest.mark.parametrize("scripts", [pytest.param(True, id="scripts"), pytest.param(False, id="no scripts")])
def test_a_risky_choice_is_confirmed_with_a_tick(chromium: Browser, site: Site, scripts: bool) -> None:
    """S24."""
    with opened(chromium, site, scripts=scripts) as page:
        sign_in(page)
        page.goto("/filtering/dmarc")
        page.get_by_label("No DMARC record").select_option(label="Reject")
        save(page)
        page.get_by_label("I understand, and want this").check()
        save(page)

        expect(page.get_by_text("Saved as revision 1.")).to_be_visible()


def test_enter_in_a_text_field_saves_and_restores_nothing(chromium: Browser, site: Site) -> None:
    with opened(chromium, site) as page:
        sign_in(page)
        page.goto("/filtering/dmarc")
        page.get_by_label("p=reject").select_option(label="Quarantine")
        page.get_by_label("Organization name").fill("Example")
        page.get_by_label("Organization name").press("Enter")

        expect(page.get_by_text("Saved as revision 1.")).to_be_visible()

    assert site.saved.current().settings.verification.actions.reject is Action.QUARANTINE


def test_what_is_unsaved_is_named_and_leaving_asks_first(chromium: Browser, site: Site) -> None:
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    with opened(chromium, site) as page:
        sign_in(page)
        page.goto("/filtering/dmarc")
        page.get_by_label("Domain list").press_sequentially("example.com")
        page.get_by_label("p=reject").select_option(label="Quarantine")
        expect(page.get_by_text("Unsaved: Domain list, p=reject")).to_be_visible()
        page.on("dialog", stay)
        page.get_by_role("link", name="Status").click()

        expect(page.get_by_label("Domain list")).to_have_value("example.com")
        expect(page.locator('[id="verification.domains-count"]')).to_have_text("1")

    assert asked == ["beforeunload"]


def test_a_viewer_finds_every_control_disabled(chromium: Browser, site: Site) -> None:
    """S34."""
    with opened(chromium, site) as page:
        sign_in(page, "vera")
        page.goto("/filtering/dmarc")

        expect(page.get_by_label("Enable DMARC")).to_be_disabled()
        expect(page.get_by_label("Exception list")).to_be_disabled()
        expect(page.get_by_role("button", name="Save changes")).to_have_count(0)


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_fit_their_window_and_can_be_read(
    chromium: Browser, site: Site, tmp_path: Path, scheme: str, width: int
) -> None:
    """Nothing stands outside the window; every text has the contrast that WCAG AA asks for; pictures for people."""
    with opened(chromium, site, scheme=scheme, width=width) as page:
        sign_in(page)
        shots = {"status": page.screenshot(full_page=True)}
        too_wide, too_pale = [overflow(page)], pale_texts(page)
        page.goto("/filtering/dmarc")
        shots["dmarc"] = page.screenshot(full_page=True)
        page.get_by_label("Exception list").fill("10.0.0.0/8\n1.2.3")
        save(page)
        expect(page.locator("#report")).to_be_visible()
        shots["problem"] = page.screenshot(full_page=True)
        too_wide.append(overflow(page))
        too_pale += pale_texts(page)

    for name, picture in shots.items():
        (tmp_path / f"{name}-{scheme}-{width}.png").write_bytes(picture)
    assert too_wide == [0, 0]
    assert too_pale == []


def overflow(page: Page) -> int:
    """By how many pixels the page is wider than its window."""
    pixels: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return pixels


def pale_texts(page: Page) -> list[str]:
    """Texts whose contrast with what is behind them is below 4.5 to 1 (WCAG 2.2, 1.4.3)."""
    found: list[str] = page.evaluate(CONTRAST)
    return found


CONTRAST = """() => {
  const channels = (color) => {
    const numbers = color.match(/[\\d.]+/g).map(Number);
    return numbers.length === 3 ? [...numbers, 1] : numbers;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = channels(getComputedStyle(at).backgroundColor);
      if (color[3] === 1) return color;
    }
    return [255, 255, 255, 1];
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const pale = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility() || element.closest("script, option, .visually-hidden, .skip")) continue;
    const [a, b] = [light(channels(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) pale.push(`${contrast.toFixed(2)} ${element.tagName} ${element.textContent.trim().slice(0, 40)}`);
  }
  return pale;
}"""
