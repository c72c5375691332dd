"""Somebody who looks at the pages without a script: reads answers, fills in forms, knows what the store holds."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from appliance.settings import from_document
from appliance.store import settings
from appliance.store.engine import Store
from appliance.store.settings import Revision

PASSWORD = "correct horse battery staple"
SECRET = b"k" * 32
START = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


@dataclass
class Clock:
    """The time that the pages believe in."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **span: int) -> None:
        self.now += timedelta(**span)


@dataclass
class Page(HTMLParser):
    """An answer as a reader meets it: its text, its controls with their values, its labels."""

    response: TestResponse
    values: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    ids: dict[str, dict[str, str | None]] = field(default_factory=dict)
    _inside: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.html = self.response.get_data(as_text=True)
        self.text = ""
        self.feed(self.html.replace("\r\n", "\n"))  # as every HTML parser does
        self.text = re.sub(r"\s+", " ", self.text)

    @property
    def status(self) -> int:
        return self.response.status_code

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if identity := given.get("id"):
            assert identity not in self.ids, f"id {identity} twice"
            self.ids[identity] = given
        name = given.get("name") or ""
        match tag:
            case "input" if given.get("type") in {"checkbox", "radio"}:
                if "checked" in given:
                    self.values[name] = given.get("value") or "on"
            case "input":
                self.values[name] = given.get("value") or ""
            case "select" | "textarea":
                self._inside[tag] = name
                self.values.setdefault(name, "")
            case "option" if "selected" in given:
                self.values[self._inside["select"]] = given.get("value") or ""
            case "label":
                self._inside[tag] = given.get("for") or ""
            case _:
                pass

    def handle_endtag(self, tag: str) -> None:
        if name := self._inside.pop(tag, None):
            if tag == "textarea":
                self.values[name] = self.values[name].removeprefix("\n")
            if tag == "label":
                self.labels[name] = self.labels[name].strip()

    def handle_data(self, data: str) -> None:
        self.text += data
        if "textarea" in self._inside:
            self.values[self._inside["textarea"]] += data
        if "label" in self._inside:
            target = self._inside["label"]
            self.labels[target] = self.labels.get(target, "") + data


@dataclass
class Visitor:
    client: FlaskClient
    page: Page | None = None

    def get(self, path: str) -> Page:
        self.page = Page(self.client.get(path, follow_redirects=True))
        return self.page

    def post(self, path: str, values: dict[str, str], *, follow: bool = True, **headers: str) -> Page:
        self.page = Page(
            self.client.post(path, data=values, follow_redirects=follow, headers=headers or None)
        )
        return self.page

    def sign_in(self, name: str, password: str = PASSWORD) -> Page:
        page = self.get("/login")
        return self.post("/login", {**page.values, "name": name, "password": password})

    def change(self, *dotted: dict[str, str], without: tuple[str, ...] = (), **changes: str) -> Page:
        """Open the DMARC page, change controls, save. In a keyword, two underscores stand for a dot."""
        return self.save(self.get("/filtering/dmarc"), *dotted, without=without, **changes)

    def save(
        self, page: Page, *dotted: dict[str, str], without: tuple[str, ...] = (), **changes: str
    ) -> Page:
        values = {name: text for name, text in page.values.items() if name and name not in without}
        for change in dotted:
            values |= change
        values |= {name.replace("__", "."): value for name, value in changes.items()}
        return self.post("/filtering/dmarc", values)


@dataclass(frozen=True)
class SettingsOf:
    """The settings in the store, past the pages."""

    store: Store

    def current(self) -> Revision:
        with self.store.read() as connection:
            return settings.current(connection)

    def save(self, document: dict[str, object], author: str = "bob") -> Revision:
        wanted = from_document(document)
        with self.store.begin() as connection:
            number = settings.current_number(connection)
            return settings.save(connection, wanted, based_on=number, author=author, comment="")
