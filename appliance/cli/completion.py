"""``dmarcgate completion``, and what a shell may complete besides commands and options."""

from collections.abc import Sequence
from enum import StrEnum

import click
from click.shell_completion import CompletionItem, get_completion_class

from appliance.settings.names import SETTINGS, label

SHELLS = ("bash", "fish", "zsh")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion_command(context: click.Context, shell: str) -> None:
    """Print a script that completes dmarcgate's commands in SHELL.

    For bash: dmarcgate completion bash > /etc/bash_completion.d/dmarcgate
    """
    script = get_completion_class(shell)
    assert script is not None
    root = context.find_root()
    click.echo(script(root.command, {}, "dmarcgate", "_DMARCGATE_COMPLETE").source())


def complete_setting(_context: click.Context, _argument: click.Parameter, start: str) -> list[CompletionItem]:
    """Names of settings."""
    return [CompletionItem(name, help=label(name)) for name in SETTINGS if name.startswith(start)]


def complete_assignment(
    context: click.Context, argument: click.Parameter, start: str
) -> list[CompletionItem]:
    """``NAME=``, and behind it the values of a setting that has only a few."""
    name, equals, value = start.partition("=")
    if equals:
        return [CompletionItem(f"{name}={choice}") for choice in _choices(name) if choice.startswith(value)]
    # bash ends words at "=": NAME, "=" and the value come one by one
    words: Sequence[str] = context.params.get(argument.name or "") or ()
    named = next((word.removesuffix("=") for word in reversed(words) if word != "="), "")
    if words and (words[-1] in {"=", named}) and _choices(named):
        return [CompletionItem(choice) for choice in _choices(named) if choice.startswith(start)]
    return [
        CompletionItem(assigned, help=label(name))
        for name in SETTINGS
        if name.startswith(start)
        for assigned in ([f"{name}={choice}" for choice in _choices(name)] or [f"{name}="])
    ]


def _choices(name: str) -> list[str]:
    """The values of the setting called *name*, where they can be counted on the fingers."""
    if name not in SETTINGS:
        return []
    kind = SETTINGS[name].annotation
    if kind is bool:
        return ["true", "false"]
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return [choice.value for choice in kind]
    return []
