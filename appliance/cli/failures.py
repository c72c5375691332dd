"""What stops a command, as one line and an exit status."""

from dataclasses import dataclass

from appliance.node import NodeError
from appliance.settings import InvalidSettings

USAGE = 2
TEMPORARY = 75


class CommandFailed(Exception):
    """A command can't go on; the message is one line that names the remedy."""

    def __init__(self, message: str, *, status: int = USAGE) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Failure:
    message: str
    status: int


def explain(error: Exception) -> Failure | None:
    """The failure that *error* stands for, or ``None`` when it is none that was foreseen."""
    match error:
        case CommandFailed():
            return Failure(str(error), error.status)
        case NodeError():
            return Failure(str(error), USAGE)
        case InvalidSettings():
            return Failure(
                "nothing was saved:\n" + "\n".join(f"  {problem}" for problem in error.problems), USAGE
            )
        case _:
            return _of_module(error)


def _of_module(error: Exception) -> Failure | None:
    """Failures of modules that not every command imports, told by name."""
    match type(error).__name__:
        case "StoreUnavailable":
            return Failure(str(error), TEMPORARY)
        case "SettingsConflict":
            return Failure(f"nothing was saved: {error}; look at it and try again", TEMPORARY)
        case "SchemaMismatch" | "InvalidStoreUrl" | "UnusableKey" | "PostfixMissing":
            return Failure(str(error), USAGE)
        case "CannotListen":
            return Failure(str(error), TEMPORARY if getattr(error, "retry", False) else USAGE)
        case _:
            return None
