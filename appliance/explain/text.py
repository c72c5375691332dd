"""An explanation as text for a terminal: the verdict first, then what led to it, then what to fix."""

from appliance.explain.lines import count, heading, pairs, table, wrapped
from appliance.explain.model import (
    Arc,
    Asked,
    AuthorDomain,
    Explanation,
    Identities,
    Mail,
    Signature,
    Spf,
    SpfStep,
    Walk,
)

_STATUS = {"nxdomain": "no such name", "nodata": "nothing of that type"}


def as_text(explanation: Explanation) -> str:
    """Safe for a terminal, since every text of an explanation is; ends with a line end."""
    lines = [
        *_verdict(explanation),
        *_message(explanation.mail, explanation.identities),
        *(
            line
            for author in explanation.authors
            for line in _author(author, alone=len(explanation.authors) == 1)
        ),
    ]
    if explanation.spf:
        lines += spf_lines(explanation.spf)
    if explanation.arc:
        lines += _signatures(explanation.dkim)
        lines += _arc(explanation.arc)
    lines += _walks(explanation.walks)
    lines += _questions(explanation.questions)
    lines += _advice(explanation)
    return "\n".join(lines) + "\n"


def _verdict(explanation: Explanation) -> list[str]:
    local = explanation.local
    result = f"DMARC {explanation.result}" if explanation.result else "DMARC was not checked"
    rows = [
        ("Result", result),
        ("Why", f"{explanation.because}."),
        ("Action", f"{local.action}: {local.because}."),
        ("Settings", local.settings),
        ("Reply", local.reply),
        *(("Note", note) for note in explanation.notes),
    ]
    return pairs(rows)


def _message(mail: Mail, who: Identities) -> list[str]:
    client = f"{who.client_ip} ({who.how})" if who.client_ip else who.how
    rows = [
        ("From", mail.header_from or "(no From field)"),
        ("Subject", mail.subject),
        ("Message-ID", mail.message_id),
        ("Date", mail.date),
        ("Size", f"{mail.size_octets:,} octets"),
        ("MAIL FROM", who.mail_from or "<> (null reverse path)"),
        ("HELO", who.helo),
        ("Client", client),
        ("Known hosts", ", ".join(who.relays)),
        ("Queue ID", mail.queue_id),
        ("Event", mail.event_id),
    ]
    guessed = [f"  guessed from the message: {', '.join(who.guessed)}"] if who.guessed else []
    return [*heading("Message"), *pairs(rows), *guessed]


def _author(author: AuthorDomain, *, alone: bool) -> list[str]:
    name = f"{author.domain} ({author.unicode})" if author.unicode else author.domain
    lines = heading("Author domain", f"{name}: {author.result}")
    if not alone:  # else the verdict has said it
        lines += wrapped(f"{author.because}.")
    lines += _policy(author)
    if author.alignment:
        titles = ("check", "domain", "result", "aligned", "mode", "because")
        cells = [(a.check, a.domain or "-", a.result, a.aligned, a.mode, a.because) for a in author.alignment]
        lines += ["", *table([titles, *cells])]
    applied = author.published.policy_domain if author.published else ""
    return [*lines, "", "  Policy discovery, name by name:", *walk_lines(author.walk, applied)]


def _policy(author: AuthorDomain) -> list[str]:
    published = author.published
    row = f'row "{author.row}": {author.action}' if author.row else "not verified, or not in the scope"
    rows = [("Local", "; ".join((row, *author.overrides)))]
    if published is None:
        told = "cannot be told now" if author.result == "temperror" else "none that can be used is published"
        return pairs([("Policy", told), *rows])
    policy = f"{published.tag}={published.policy}" if published.tag else "cannot be told"
    asked = "" if published.policy == published.requested else f", acted on as p={published.requested}"
    return pairs(
        [
            ("Policy", f"{policy}{asked}: {published.because}"),
            ("From", f"_dmarc.{published.policy_domain}, {published.where}"),
            ("Record", published.record),
            *(("Mistake", problem) for problem in published.problems),
            *rows,
        ]
    )


def walk_lines(walk: Walk, applied: str = "") -> list[str]:
    """*applied*: the domain whose record applies."""
    rows = []
    for step in walk.steps:
        notes = ["this record applies"] * (step.domain == applied) + [step.note] * bool(step.note)
        rows += [(step.name, step.found), *(("", f"^ {note}") for note in notes)]
    organizational = walk.organizational_domain or "unknown"
    told = f"Organizational Domain of {walk.start}: {organizational} ({walk.because})"
    return [*table(rows, indent="    "), *wrapped(told, first="    ", rest="      ")]


def spf_lines(spf: Spf) -> list[str]:
    subject = f"{spf.identity} domain {spf.domain}" if spf.domain else spf.identity
    lines = [*heading("SPF", f"{subject}: {spf.result}"), *wrapped(f"{spf.because}.")]
    if spf.steps:
        used = (
            f"{spf.lookups} of {spf.max_lookups} look-ups, {spf.void_lookups} of {spf.max_void_lookups} void"
        )
        lines += [f"  Used up: {used}.", "", *steps_table(spf.steps)]
    return [*lines, *wrapped(spf.note)] if spf.note else lines


def steps_table(steps: tuple[SpfStep, ...]) -> list[str]:
    """Records with their terms below, and the running counts beside them."""
    rows = [("look-ups", "void", "step", "what became of it")]
    rows += [(str(step.lookups), str(step.void_lookups), *_step(step)) for step in steps]
    return table(rows)


def _step(step: SpfStep) -> tuple[str, str]:
    indent = "  " * step.depth
    if not step.term:
        return f"{indent}record of {step.domain}", f"{step.target}   => {step.outcome or 'not finished'}"
    outcome = step.outcome
    if outcome == "match" and step.means:
        outcome = f"match: {step.means}"
    target = f" ({step.target})" if step.target and step.target not in step.term else ""
    return f"{indent}  {step.term}", outcome + target


def _signatures(signatures: tuple[Signature, ...]) -> list[str]:
    lines = heading("DKIM", count(len(signatures), "signature") if signatures else "no signature")
    for one in signatures:
        lines += ["", *wrapped(f"{one.number}. {one.result}: {one.because}")]
        lines += pairs(
            [
                ("   domain", f"d={one.domain or '?'} s={one.selector or '?'}"),
                ("   algorithm", ", ".join(filter(None, (one.algorithm, one.canonicalization)))),
                ("   identity", f"i={one.identity}" if one.identity else ""),
                ("   signs", " ".join(one.signed_fields)),
                ("   body", one.body),
                ("   key at", f"{one.key_name}: {one.key}" if one.key_name else ""),
                ("   note", "its key says t=y (testing), which changes nothing" if one.testing else ""),
            ]
        )
    return lines


def _arc(arc: Arc) -> list[str]:
    rows = [
        (
            f"set {one.instance or '?'}",
            f"sealed by {one.sealer or '?'} s={one.selector or '?'}",
            f"cv={one.chain or '?'}",
        )
        for one in arc.sets
    ]
    return [*heading("ARC", f"{arc.result}: {arc.because}"), *table(rows)]


def _walks(walks: tuple[Walk, ...]) -> list[str]:
    if not walks:
        return []
    lines = heading("Organizational domains of the other names")
    for at, walk in enumerate(walks):
        lines += [""] * (at > 0) + walk_lines(walk)
    return lines


def _questions(questions: tuple[Asked, ...]) -> list[str]:
    used = [asked for asked in questions if asked.for_verdict]
    further = len(questions) - len(used)
    note = f"  ({count(further, 'question')} more for this explanation only)" if further else ""
    rows = [row for asked in used for row in _question(asked)]
    return [
        *heading("DNS", f"{count(len(used), 'question')} that the verdict rests on"),
        *table(rows),
        *([note] if note else []),
    ]


def _question(asked: Asked) -> list[tuple[str, str, str, str]]:
    """A row for each record, or one for what there was instead."""
    ttl = f"{asked.ttl_seconds} s" + (" AD" if asked.authenticated else "")
    if asked.status == "temporary":
        return [(asked.type, asked.name, "-", f"the DNS could not tell: {asked.reason}")]
    told = asked.records or (_STATUS.get(asked.status, asked.status),)
    return [
        (asked.type if at == 0 else "", asked.name if at == 0 else "", ttl if at == 0 else "", text)
        for at, text in enumerate(told)
    ]


def _advice(explanation: Explanation) -> list[str]:
    if not explanation.advice:
        return [*heading("What the sender should fix"), "  Nothing."]
    lines = heading("What the sender should fix")
    for advice in explanation.advice:
        who = f"{advice.domain}: " if advice.domain else ""
        lines += wrapped(who + advice.text, first="  - ", rest="    ")
    return lines
