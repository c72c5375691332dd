"""The command's root: finds the noun's module, and turns what stops a command into one line and an exit status."""

import importlib
import sys
from typing import NoReturn

import click
from click.shell_completion import CompletionItem

from appliance.cli.failures import explain

# noun: (module, one line of help); a module has a click command of the noun's name
_COMMANDS = {
    "activity": ("activity", "Find messages that were handled, and see who writes to us."),
    "check": ("check", "Tell whether the gateway is well, and what to do where it is not."),
    "completion": ("completion", "Print a script that completes commands in a shell."),
    "db": ("store", "Upgrade and check the store."),
    "explain": ("explain", "Tell why a message passes or fails, and what the sender should fix."),
    "filter": ("services", "Run the mail filter."),
    "key": ("keys", "Keys that reports are signed with."),
    "lab": ("lab", "Run the whole gateway with sample mail."),
    "list": ("lists", "Show and change the lists of domains, networks and exceptions."),
    "lookup": ("lookup", "Tell what a domain publishes, and what is wrong with it."),
    "quarantine": ("quarantine", "List and release quarantined mail."),
    "report": ("report", "See, build and send reports."),
    "reports": ("services", "Run the reports job."),
    "settings": ("settings", "Show and change settings."),
    "user": ("user", "Accounts of the settings page."),
    "verify": ("verify", "Answer messages on standard input with verdicts, one JSON object a line."),
    "version": ("version", "Print the version."),
    "web": ("services", "Run the settings page."),
}


class _Root(click.Group):
    """Imports a noun's module only when that noun is called: the filter needs no web server."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's interface
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"appliance.cli.{_COMMANDS[cmd_name][0]}")
        command = getattr(module, f"{cmd_name}_command")
        assert isinstance(command, click.Command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        nouns = [
            CompletionItem(name, help=text)
            for name, (_, text) in sorted(_COMMANDS.items())
            if name.startswith(incomplete)
        ]
        return nouns + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in sorted(_COMMANDS.items())])


@click.group(cls=_Root, context_settings={"help_option_names": ["-h", "--help"]})
def root() -> None:
    """DMARC Gate: check SPF, DKIM, ARC and DMARC of arriving mail, act on the result, report to domain owners."""


def main() -> NoReturn:
    """Run the command. Exit status: 0 done, 1 a negative result, 2 usage, 75 trying again later may help."""
    try:
        status = root.main(prog_name="dmarcgate", standalone_mode=False)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        failure = explain(error)
        if failure is None:
            raise
        click.echo(f"dmarcgate: {failure.message}", err=True)
        sys.exit(failure.status)
    sys.exit(status if isinstance(status, int) else 0)  # click returns what ctx.exit and Exit were given
