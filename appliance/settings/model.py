"""The settings themselves: pydantic models, frozen; ``title`` is a setting's label, ``description`` its help."""

from pydantic import BaseModel, ConfigDict, Field, model_validator

from appliance.mail.domain import domain_of
from appliance.settings.choices import (
    Action,
    EngineFailureAction,
    Gate,
    Mode,
    ReportForm,
    Scope,
    TemporaryErrorAction,
)
from appliance.settings.fields import (
    DomainName,
    Domains,
    Exceptions,
    FieldName,
    MailAddress,
    Networks,
    OneLine,
    ReplyText,
)
from appliance.settings.records import NetworkRecord

BOUNCE_PREFIX = "bounces+"
"""How the local part of every address begins that reports are sent from: their return path."""


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ActionTable(_Group):
    """Sender Filtering > DMARC > Actions."""

    none: Action = Field(Action.DELIVER, title="p=none", description="The domain owner asks for no action.")
    quarantine: Action = Field(
        Action.QUARANTINE,
        title="p=quarantine",
        description="The domain owner asks to treat the message as suspicious.",
    )
    reject: Action = Field(
        Action.REJECT, title="p=reject", description="The domain owner asks to refuse the message."
    )
    no_record: Action = Field(
        Action.DELIVER,
        title="No DMARC record",
        description="The domain publishes no record, or an unusable one.",
    )
    temporary_error: TemporaryErrorAction = Field(
        TemporaryErrorAction.DELIVER,
        title="Temporary DNS error",
        description="The DNS could not tell now. Never rejected for good.",
    )
    unusable_from: Action = Field(
        Action.QUARANTINE,
        title="Unusable From",
        description="No From field, several, or one that can't be read. Holds for listed domains too, because nobody "
        "can tell which domain such a message claims.",
    )
    soften_indirect: bool = Field(
        default=True,
        title="Quarantine instead of rejecting indirect mail",
        description="Mail with signs of a mailing list or forwarder is quarantined where it would be rejected.",
    )


class Verification(_Group):
    """Sender Filtering > DMARC > Verification, Domains and Exceptions."""

    enabled: bool = Field(
        default=False, title="Enable DMARC", description="While it is off: no look-ups, no marks, no actions."
    )
    mode: Mode = Field(
        Mode.ENFORCE,
        title="Mode",
        description="Monitor only verifies, marks, records and reports, and never stops a message.",
    )
    skip_authenticated: bool = Field(
        default=True,
        title="Do not check authenticated senders",
        description="Mail from clients that signed in is not verified.",
    )
    scope: Scope = Field(
        Scope.ALL, title="Verify", description="All author domains, or only the listed ones."
    )
    domains: Domains = Field(
        (),
        title="Domain list",
        description="One a line: example.com is that domain only, *.example.com is every name below it.",
    )
    exceptions: Exceptions = Field(
        (),
        title="Exception list",
        description="Client addresses and networks that are not verified. mode=evaluate: verified, but not acted on.",
    )
    actions: ActionTable = ActionTable()
    x_header: bool = Field(
        default=False, title="Insert an X-Header", description="Adds the result to each verified message."
    )
    x_header_name: FieldName = Field("X-DMARC-Result", title="X-Header name")
    reject_text: ReplyText = Field(
        "Refused by DMARC: %{domain} does not vouch for this message (id %{id})",
        title="Text of the 550 5.7.26 reply",
        description="One line of ASCII; %{domain} and %{id} are filled in.",
    )
    defer_text: ReplyText = Field(
        "DMARC of %{domain} cannot be checked now, try again later (id %{id})",
        title="Text of the 451 4.7.0 reply",
        description="One line of ASCII; %{domain} and %{id} are filled in.",
    )
    engine_failure: EngineFailureAction = Field(
        EngineFailureAction.DEFER,
        title="If the filter fails on a message",
        description="Deferred mail comes again; delivered mail is marked temperror and counted.",
    )

    @model_validator(mode="after")
    def _something_to_check(self) -> "Verification":
        if self.scope is Scope.LISTED and not self.domains:
            raise ValueError(
                "domains: the list is empty, so nothing would be checked; add a domain or choose all author domains"
            )
        return self


class Signatures(_Group):
    """Which DKIM signatures and ARC chains count."""

    partial_body_counts: bool = Field(
        default=False,
        title="Count signatures that cover part of the body",
        description="A signature with l= leaves the rest of the body to anybody; while this is off it does not count.",
    )
    unsigned_duplicates_count: bool = Field(
        default=False,
        title="Count signatures in spite of unsigned duplicate fields",
        description="A second Subject, To or Date that is not signed may be what the reader sees; while this is off "
        "such a signature does not count.",
    )
    min_rsa_bits: int = Field(
        1024,
        ge=1024,
        le=4096,
        title="Shortest RSA key that counts",
        description="Bits, for DKIM and ARC. RFC 8301 forbids less than 1024.",
    )
    max_arc_sets: int = Field(
        20,
        ge=1,
        le=50,
        title="Longest ARC chain that is checked",
        description="Sets; longer chains fail. RFC 8617 allows 50, each of which may cost two DNS questions.",
    )


class Network(_Group):
    """Who is outside and who is not."""

    internal: Networks = Field(
        (NetworkRecord.parse("127.0.0.0/8"), NetworkRecord.parse("::1")),
        title="Internal networks",
        description="Mail from these is not verified.",
    )
    known_hosts: Networks = Field(
        (),
        title="Known hosts",
        description="Own or trusted relays in front: the client is the nearest earlier hop that is not listed.",
    )
    trusted_forwarders: Networks = Field(
        (),
        title="Trusted forwarders",
        description="Mail from these is quarantined where it would be rejected.",
    )
    trusted_sealers: Domains = Field(
        (),
        title="Trusted ARC sealers",
        description="Their domains, one a line, as for the domain list. Mail that fails is delivered when an unbroken "
        "ARC chain of these says that it passed before.",
    )


class Identity(_Group):
    """Who we are in the fields that we add."""

    authserv_id: DomainName = Field(
        "",
        title="Our name in Authentication-Results",
        description="The mail domain, the same on all nodes. Empty: the node's name.",
    )
    protected_domains: Domains = Field(
        (), title="Protected domains", description="Our own domains; reports are never sent to them."
    )


class Reports(_Group):
    """Daily aggregate reports to domain owners."""

    enabled: bool = Field(
        default=False,
        title="Deliver daily reports",
        description="Once a UTC day, to the rua addresses of the policy domains seen.",
    )
    readiness_override: OneLine = Field(
        "",
        title="Reason for sending without a passed readiness check",
        description="Reports from a host whose own mail does not pass DMARC harm its reputation.",
    )
    organization: OneLine = Field("", title="Organization name")
    address: MailAddress = Field("", title="Report address", description="The From address of reports.")
    contact: OneLine = Field("", title="Extra contact information")
    gate: Gate = Field(Gate.ESTABLISHED, title="Who gets a report")
    allowed_domains: Domains = Field((), title="Always report to", description="Policy domains.")
    denied_domains: Domains = Field((), title="Never report to", description="Policy domains.")
    collect_only: bool = Field(
        default=False,
        title="Collect without sending",
        description="While reports are off: count what they would say, and send nothing.",
    )
    recipient_domain: bool = Field(
        default=True,
        title="Name the recipients' domain",
        description="In aggregate reports, where all recipients of a message share one.",
    )
    format: ReportForm = Field(ReportForm.RFC9990, title="Form of aggregate reports")
    legacy_domains: Domains = Field(
        (),
        title="Legacy form for",
        description="Domains of destination addresses whose readers refuse the form of RFC 9990.",
    )
    new_destinations_per_day: int = Field(
        100,
        ge=0,
        le=100_000,
        title="New destinations a day",
        description="Addresses that never got a report from us before; the others wait for the next day.",
    )
    destinations_per_day: int = Field(
        1000,
        ge=0,
        le=1_000_000,
        title="Destinations a day",
        description="Reports in all, each to one address; what is beyond is not sent, counted and shown.",
    )
    bounce_domain: DomainName = Field(
        "",
        title="Domain of the bounce address",
        description="Its mail must arrive here. Empty: the domain of the report address.",
    )
    failure_enabled: bool = Field(
        default=False,
        title="Send failure reports",
        description="One mail about single messages to those who publish ruf: header fields only. Most receivers "
        "send none, to protect privacy.",
    )
    failure_redaction: bool = Field(
        default=True,
        title="Redact failure reports",
        description="Local parts of addresses become codes, the subject and free text are left out.",
    )
    failure_per_destination: int = Field(
        1,
        ge=1,
        le=1000,
        title="Failure reports to one address",
        description="A day, for each author domain; what is beyond is counted in the next one.",
    )
    failure_per_day: int = Field(100, ge=0, le=100_000, title="Failure reports a day", description="In all.")
    digest_address: MailAddress = Field(
        "",
        title="Weekly summary to",
        description="Address of the administrator; empty: none is sent.",
    )

    @property
    def bounce_host(self) -> str:
        """The domain whose bounce addresses are ours; ``""`` before there is a report address."""
        return self.bounce_domain or domain_of(self.address)

    def is_ours(self, address: str) -> bool:
        """Whether mail to *address* is about our reports: the report address or a bounce address."""
        local_part, _, domain = address.lower().rpartition("@")
        is_bounce = local_part.startswith(BOUNCE_PREFIX) and domain == self.bounce_host
        return is_bounce or (bool(self.address) and address.lower() == self.address.lower())

    @model_validator(mode="after")
    def _has_an_identity(self) -> "Reports":
        if self.enabled and not (self.organization and self.address):
            raise ValueError("enabled: set the organization name and the report address first")
        return self


class Retention(_Group):
    """How long things are kept; what is older, or beyond its share of the disk, goes oldest first."""

    events_days: int = Field(
        30, ge=1, le=3650, title="Keep events for", description="Days; what the activity pages show."
    )
    events_percent: int = Field(
        33, ge=1, le=80, title="Events may fill", description="Percent of the data disk."
    )
    facts_days: int = Field(
        35,
        ge=8,
        le=400,
        title="Keep report rows for",
        description="Days; a report that could not be built in time needs them.",
    )
    quarantine_days: int = Field(
        30, ge=1, le=3650, title="Keep quarantined mail for", description="Days; then it is deleted."
    )
    quarantine_percent: int = Field(
        20,
        ge=1,
        le=80,
        title="Quarantined mail may fill",
        description="Percent of the data disk. From four fifths of it on a warning is shown.",
    )


class Settings(_Group):
    """All settings. Behaviour hangs on these alone; how to reach the store stands in the node file."""

    verification: Verification = Verification()
    signatures: Signatures = Signatures()
    network: Network = Network()
    identity: Identity = Identity()
    reports: Reports = Reports()
    retention: Retention = Retention()
