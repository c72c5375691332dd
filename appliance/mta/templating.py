"""Filling in a configuration template exactly as Ansible's module ``template`` does."""

from collections.abc import Mapping
from importlib.resources import files

from jinja2 import Environment, StrictUndefined


def render(package: str, template: str, values: Mapping[str, object]) -> str:
    """The text of a file in the *package*'s folder ``templates``; a value it asks for and does not get is an error."""
    environment = Environment(
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  not HTML
    )
    text = (files(package) / "templates" / template).read_text(encoding="utf-8")
    return environment.from_string(text).render(values)
