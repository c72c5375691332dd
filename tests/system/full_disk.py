"""Fills the disk of a Postfix by mail that cannot be delivered, makes room again, and prints what it saw as JSON.

To be run with a small file system's folder: ``python -m tests.system.full_disk FOLDER``.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from appliance.lab.ports import free_ports
from appliance.lab.postfix import PostfixInstance
from appliance.lab.postfix_programs import clean_environment
from appliance.lab.smtp import Reply, send_message
from appliance.mta.configuration import Configuration
from tests.mta.inside import SmtpServer
from tests.mta.instances import appliance_below

LETTER = b"From: ann@sender.example\r\nSubject: large\r\n\r\n" + (b"x" * 898 + b"\r\n") * 1000


def main(folder: Path) -> None:
    (inside_port,) = free_ports(1)
    configuration = Configuration(
        hostname="gw.example",
        inside_domains=("corp.example",),
        inside_host="127.0.0.1",
        inside_port=inside_port,
        verify_recipients=False,
        filter_endpoint="",
        message_size_limit_octets=4_000_000,
    )
    with PostfixInstance(appliance_below(folder, configuration)) as postfix:
        found: dict[str, object] = {}
        taken: list[str] = []
        while (reply := send(postfix, f"r{len(taken)}")).accepted:
            taken.append(f"r{len(taken)}@corp.example")
        found["taken"] = len(taken)
        found["first refusal"] = [reply.stage, reply.code, reply.text]
        found["refusals"] = [send(postfix, "refused").code for _ in range(20)]
        found["queued after 20 refusals"] = postfix.queue_length()
        with SmtpServer(port=inside_port) as inside:
            subprocess.run(
                ["postqueue", "-c", postfix.configuration_directory, "-f"],
                check=True,
                env=clean_environment(),
            )
            give_up_at = time.monotonic() + 60
            while postfix.queue_length() and time.monotonic() < give_up_at:
                time.sleep(0.05)
            delivered = [recipient for message in inside.taken for recipient in message.recipients]
            found["delivered once"] = len(delivered) if sorted(delivered) == sorted(taken) else delivered
            found["after there was room"] = send(postfix, "later").code
        print(json.dumps(found))


def send(postfix: PostfixInstance, name: str) -> Reply:
    return send_message(
        postfix.config.smtp_port,
        mail_from="ann@sender.example",
        rcpt_to=[f"{name}@corp.example"],
        octets=LETTER,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
