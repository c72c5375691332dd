"""An Authentication-Results field of another's is read or forged; ours says what we found, whatever we found it in."""

import authres
from authres import arc, dkim_b, dmarc

from appliance.dmarc.evaluation import DmarcWord, Evaluation
from appliance.dmarc.record import Policy
from appliance.mail.authentication import (
    ArcResult,
    ArcWord,
    Authentication,
    DkimResult,
    DkimWord,
    SpfResult,
    SpfScope,
    SpfWord,
)
from appliance.mail.message import HeaderField, Message
from appliance.mail.results_header import (
    forged_results,
    overall_word,
    read_authserv_id,
    write,
    x_header_value,
)
from tests.fuzz.material import message_of, text_of

WORDS = (
    'example.org;| 1;|; dmarc=pass|; spf=pass smtp.mailfrom=|header.from=|(|)|"|\\|\r\n |'
    "policy.dmarc=none|xn--|=?utf-8?q?|none|/|reason="
)

_OURS = "example.org"
_FOUND = [("spf", "fail"), ("dkim", "fail"), ("dkim", "fail"), ("arc", "fail"), ("dmarc", "none")]
_EMPTY = message_of(b"", mail_from="")
_READER = authres.FeatureContext(dkim_b, dmarc, arc)


def target(data: bytes) -> None:
    name = read_authserv_id(data)
    assert name is None or name
    message = Message(_EMPTY.envelope, (HeaderField(b"Authentication-Results", data),), b"")
    assert forged_results(message, _OURS) == ((0,) if name in {None, _OURS} else ())
    write_and_read(text_of(data))


def write_and_read(text: str) -> None:
    """*text* in every place that comes from a message or the DNS."""
    authentication = Authentication(
        SpfResult(SpfWord.FAIL, text, SpfScope.MAIL_FROM, text),
        (
            DkimResult(DkimWord.FAIL, text, text, text, text, text, text),
            DkimResult(DkimWord.FAIL, "example.net", "s", f"{text}@example.net"),
        ),
        ArcResult(ArcWord.FAIL, (), 1, text),
    )
    evaluations = [Evaluation(text, DmarcWord.NONE, policy=Policy.NONE, reason=text)]
    value = write(_OURS, authentication, evaluations)
    assert read_authserv_id(value) == _OURS
    unfolded = value.decode("ascii").replace("\r\n ", " ")
    assert unfolded.isprintable()
    header = _READER.parse(f"Authentication-Results:{unfolded}")
    assert [(result.method, result.result) for result in header.results] == _FOUND
    assert overall_word(evaluations, unusable=text) == "none"
    x_header = x_header_value(evaluations, action="deliver", unusable=text).decode("ascii")
    assert x_header.replace("\r\n ", " ").isprintable()
