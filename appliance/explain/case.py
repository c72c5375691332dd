"""What an explanation is made from: a message judged now, or one that the filter judged and recorded."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from appliance.checks.options import CheckOptions
from appliance.dmarc.evaluation import Evaluation
from appliance.mail.authentication import Authentication
from appliance.mail.author import Author
from appliance.mail.message import Envelope, Message
from appliance.mail.origin import Origin
from appliance.policy import Verdict
from appliance.resolver import Answer, Question

DEFAULT_OPTIONS = CheckOptions()


@dataclass(frozen=True, slots=True)
class Case:
    """One message and all that is known about how it was judged."""

    envelope: Envelope
    origin: Origin
    author: Author
    header_from: str
    subject: str
    message_id: str
    size_octets: int
    now: datetime
    authentication: Authentication | None
    """``None`` when it was not verified."""
    evaluations: tuple[Evaluation, ...]
    verdict: Verdict
    settings: str
    """Which settings the verdict is by, in words."""
    reply: str
    """What the client was or would be told, when the message is not accepted; else ``""``."""
    used: Mapping[Question, Answer]
    """The answers that the verdict rests on."""
    others: Mapping[Question, Answer]
    """Answers to ``further_questions``, as far as they are known."""
    message: Message | None = None
    """``None`` when it was not kept."""
    event_id: str = ""
    exceeded: str = ""
    """The cap that was hit, see ``Assessment``."""
    guessed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    options: CheckOptions = DEFAULT_OPTIONS

    @property
    def answers(self) -> dict[Question, Answer]:
        return {**self.others, **self.used}
