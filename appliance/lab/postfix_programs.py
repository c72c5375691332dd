"""The system's Postfix programs: where they are, what they know, how to install them."""

import os
import pwd
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SEARCH_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))

_APT = ("apt-get", "install", "-y", "--no-install-recommends", "postfix")
_DNF = ("dnf", "install", "-y", "postfix")


class PostfixError(Exception):
    """Postfix cannot be found, installed, started or stopped; the text is for the user."""


class PostfixMissing(PostfixError):
    """The system has no Postfix; the text names the command that installs it."""


@dataclass(frozen=True, slots=True)
class PostfixPrograms:
    """An installed Postfix; *parameters* are all that this version knows, with their defaults."""

    postfix: Path
    parameters: dict[str, str]

    @property
    def mail_owner(self) -> pwd.struct_passwd:
        """The account that Postfix's unprivileged daemons run as."""
        return pwd.getpwnam(self.parameters["mail_owner"])


def find_postfix(search_path: str = _SEARCH_PATH) -> PostfixPrograms:
    """The installed Postfix, or ``PostfixMissing`` with the command that installs it."""
    postconf, postfix = (shutil.which(name, path=search_path) for name in ("postconf", "postfix"))
    if postconf is None or postfix is None:
        raise PostfixMissing(f"Postfix is not installed: {install_advice()}")
    done = subprocess.run(
        [postconf, "-d"], capture_output=True, text=True, check=False, env=clean_environment(), timeout=30
    )
    parameters = dict(re.findall(r"^(\w+) = ?(.*)$", done.stdout, re.MULTILINE))
    if "mail_version" not in parameters:
        raise PostfixError(f"{postconf} -d tells nothing about Postfix: {done.stderr.strip()[:300]}")
    return PostfixPrograms(Path(postfix), parameters)


def install_advice() -> str:
    """What to type to install Postfix on this system."""
    command = _install_command()
    if command is None:
        return "install your system's package postfix"
    words = " ".join(word for word in command if word != "-y")
    return f"run {words}" if os.geteuid() == 0 else f"run sudo {words}"


def install_postfix() -> PostfixPrograms:
    """Install Postfix with the system's package manager, without a configuration, so that nothing starts by itself.

    Needs root; takes up to some minutes. Raises ``PostfixError``.
    """
    command = _install_command()
    if command is None or os.geteuid() != 0:
        raise PostfixMissing(
            f"Postfix is not installed, and cannot be installed from here: {install_advice()}"
        )
    if command is _APT:
        # Debian's unit starts Postfix only when /etc/postfix/main.cf exists, which this answer leaves unwritten.
        _run_installer(
            ("debconf-set-selections",),
            answer="postfix postfix/main_mailer_type select No configuration\n",
            optional=True,
        )
        _run_installer(("apt-get", "update", "-q"), optional=True)
    _run_installer(command)
    return find_postfix()


def clean_environment() -> dict[str, str]:
    """Our environment without what could lead Postfix's programs to another instance."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAIL_", "POSTLOG_"))}
    return kept | {"PATH": _SEARCH_PATH, "LC_ALL": "C"}


def _install_command() -> tuple[str, ...] | None:
    return next((command for command in (_APT, _DNF) if shutil.which(command[0], path=_SEARCH_PATH)), None)


def _run_installer(command: tuple[str, ...], *, answer: str = "", optional: bool = False) -> None:
    environment = clean_environment() | {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, input=answer, capture_output=True, text=True, env=environment, check=False, timeout=600
        )
    except (OSError, subprocess.TimeoutExpired) as trouble:
        if optional:
            return
        raise PostfixError(f"{' '.join(command)}: {trouble}") from trouble
    if done.returncode != 0 and not optional:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise PostfixError(f"{' '.join(command)} failed:\n{last}")
