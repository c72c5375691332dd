"""The C programs that our filter is measured against, where they are installed; configured here and nowhere else.

They find the name server at port 53 only, so they run in a network namespace of their own with a ``resolv.conf`` of
their own. That takes root. What they have in common with our filter: a Unix socket, no action on a message, their
results written into a header field. rspamd runs its SPF, DKIM, ARC and DMARC modules alone, and writes no field.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench.candidates import CHECKOUT, Candidate
from tests.bench.corpus import Corpus
from tests.bench.processes import Daemon

OPENDKIM, OPENDMARC, RSPAMD = "OpenDKIM", "OpenDMARC", "rspamd"
PAIR = f"{OPENDKIM} + {OPENDMARC}"
PACKAGES = {OPENDKIM: "opendkim", OPENDMARC: "opendmarc", RSPAMD: "rspamd"}

_SYSTEM_PLACES = ("/usr/local/sbin", "/usr/sbin", "/sbin")

_OPENDKIM = """\
Mode v
Socket local:{socket}
UMask 000
AuthservID mx.receiver.example
AlwaysAddARHeader yes
Nameservers 127.0.0.1
On-DNSError accept
Syslog no
"""

_OPENDMARC = """\
Socket local:{socket}
UMask 000
AuthservID mx.receiver.example
SPFIgnoreResults true
SPFSelfValidate true
RejectFailures false
RequiredHeaders false
Syslog false
"""

_RSPAMD = """\
options {{
    pidfile = "{folder}/rspamd.pid";
    filters = "dkim";
    cache_file = "{folder}/symbols.cache";
    hs_cache_dir = "{folder}";
    tempdir = "{folder}";
    control_socket = "{folder}/control.sock mode=0600";
    dns {{ nameserver = ["127.0.0.1:53"]; timeout = 2s; }}
    url_tld = "/usr/share/rspamd/effective_tld_names.dat";
    local_addrs = ["127.0.0.0/8"];
    task_timeout = 30s;
}}
logging {{ type = "console"; level = "warning"; }}
worker "rspamd_proxy" {{
    bind_socket = "{socket} mode=0666";
    count = {workers};
    milter = yes;
    timeout = 60s;
    upstream "local" {{ default = yes; self_scan = yes; }}
}}
modules {{
    path = "/usr/share/rspamd/plugins/spf.lua";
    path = "/usr/share/rspamd/plugins/arc.lua";
    path = "/usr/share/rspamd/plugins/dmarc.lua";
}}
spf {{ spf_cache_size = 2k; spf_cache_expire = 1d; }}
dkim {{ dkim_cache_size = 2k; dkim_cache_expire = 1d; }}
arc {{ }}
dmarc {{ }}
group "policies" {{ .include "/etc/rspamd/scores.d/policies_group.conf" }}
actions {{ reject = 1000; add_header = 999; greylist = 998; }}
"""


def missing() -> list[str]:
    """What keeps the comparison from being made, one line each."""
    reasons = [
        f"{name} is not installed (package {package})"
        for name, package in PACKAGES.items()
        if not _program(package)
    ]
    if os.geteuid() != 0:
        reasons.append("the peers need root, for a network namespace with a name server on port 53")
    return reasons


@contextmanager
def peers(corpus: Corpus, folder: Path, *, workers: int) -> Iterator[list[Candidate]]:
    """Those that are installed, running."""
    folder.mkdir()
    with ExitStack() as stack:
        inside = _namespace(corpus, folder, stack)
        running = []
        if program := _program("opendkim"):
            file = _configured(folder / "opendkim.conf", _OPENDKIM, folder, workers)
            running.append(_start(OPENDKIM, [*inside, program, "-f", "-x", str(file)], folder, stack))
        if program := _program("opendmarc"):
            file = _configured(folder / "opendmarc.conf", _OPENDMARC, folder, workers)
            running.append(_start(OPENDMARC, [*inside, program, "-f", "-c", str(file)], folder, stack))
        if program := _program("rspamd"):
            file = _configured(folder / "rspamd.conf", _RSPAMD, folder, workers)
            running.append(_start(RSPAMD, [*inside, program, "-f", "-i", "-c", str(file)], folder, stack))
        yield running


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *_SYSTEM_PLACES]))


def _configured(file: Path, template: str, folder: Path, workers: int) -> Path:
    text = template.format(socket=folder / f"{file.stem}.sock", folder=folder, workers=workers)
    file.write_text(text, encoding="ascii")
    return file


def _namespace(corpus: Corpus, folder: Path, stack: ExitStack) -> list[str]:
    """Start a name server on port 53 of a new namespace; returns the command that runs others in it."""
    resolv_conf = folder / "resolv.conf"
    resolv_conf.write_text("nameserver 127.0.0.1\n", encoding="ascii")
    serve = [sys.executable, "-m", "tests.bench.nameserver", str(corpus.zone_file), "53", "--raise-loopback"]
    names = Daemon(
        "name server",
        [
            *("unshare", "--net", "--mount", "--", "sh", "-c"),
            'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"',
            *("sh", str(resolv_conf), *serve),
        ],
        folder / "nameserver.log",
        {"PYTHONPATH": str(CHECKOUT)},
    )
    stack.callback(names.stop)
    names.wait_until(lambda: "ready" in names.log.read_text(encoding="utf-8"))
    return ["nsenter", "--net", "--mount", "--target", str(names.pid), "--"]


def _start(name: str, command: list[str], folder: Path, stack: ExitStack) -> Candidate:
    package = PACKAGES[name]
    listening = folder / f"{package}.sock"
    daemon = Daemon(name, command, folder / f"{package}.log")
    stack.callback(daemon.stop)
    daemon.wait_until(listening.exists)
    return Candidate(daemon, listening, checks_dkim=name == OPENDKIM, checks_dmarc=name == OPENDMARC)
