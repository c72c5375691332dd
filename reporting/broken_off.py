"""Find out whether Postfix took a report whose hand-over broke off: it wrote the name that the report gave itself.

postfix/report/smtpd[668]: 4jYCNm5vG6zJDV7: client=localhost[127.0.0.1], orig_queue_id=0123456789ab
postfix/qmgr[665]: 4jYCNm5vG6zJDV7: from=<bounces+1@gateway.example>, size=2912, nrcpt=1 (queue active)
"""

import re
from pathlib import Path

from appliance.mta import log as postfix_log
from appliance.mta.log import LogUnreadable, Place

IDENT_DIGITS = 12

_NAMED = re.compile(rb"([0-9A-Za-z]+): client=.*, orig_queue_id=([0-9a-f]{12})(?:,|$)", re.ASCII)
_QUEUED = re.compile(rb"([0-9A-Za-z]+): (?:from=<|removed$)", re.ASCII)


def taken_as(ident: str, log: Path, since: Place) -> str:
    """The queue ID under which Postfix took the message that called itself *ident*, by what was logged *since*.

    ``""`` when it did not, or when the log doesn't say: then the same octets may be handed over again (AGG-32).
    """
    offered: set[bytes] = set()
    try:
        for line in postfix_log.lines(log, since):
            entry = postfix_log.entry(line)
            if entry is None:
                continue
            if entry.program == b"smtpd" and (named := _NAMED.match(entry.text)):
                if named[2] == ident.encode("ascii"):
                    offered.add(named[1])
            elif entry.program == b"qmgr" and (queued := _QUEUED.match(entry.text)) and queued[1] in offered:
                return queued[1].decode("ascii")
    except LogUnreadable:
        pass
    return ""
