"""Mail that programs write about other mail: bounces, reports, automatic answers. It must cause no mail in return."""

import re

from appliance.mail.message import NULL_PATH, Message

_REPORT_TYPE = re.compile(r"multipart\s*/\s*report\b", re.ASCII | re.IGNORECASE)
_BY_HAND = re.compile(r"no\s*(?:[;(]|$)", re.ASCII | re.IGNORECASE)
_REPORT_SUBJECT = re.compile(r"report domain:.*\bsubmitter:", re.IGNORECASE | re.DOTALL)
"""Of an aggregate report (RFC 9990 section 3.5.2): many senders of those mark them in no other way."""


def is_automatic(message: Message) -> bool:
    """Whether *message* is such mail: null reverse path, ``multipart/report``, ``Auto-Submitted`` (RFC 3834, RFC 6522).

    Whoever hides it gains nothing but what any other mail would.
    """
    if message.envelope.mail_from == NULL_PATH or _REPORT_TYPE.match(message.text("content-type")):
        return True
    auto_submitted = message.text("auto-submitted")
    if auto_submitted and not _BY_HAND.match(auto_submitted):
        return True
    return bool(_REPORT_SUBJECT.match(message.text("subject")[:998]))
