"""Delivery status notifications as servers send them (RFC 3464)."""


def notice(
    *, action: str = "failed", status: str = "5.1.1", recipient: str = "d@bank.test", diagnostic: str = ""
) -> bytes:
    """One about one recipient, with CR LF line ends."""
    return multipart(group(action=action, status=status, recipient=recipient, diagnostic=diagnostic))


def group(
    *, action: str = "failed", status: str = "5.1.1", recipient: str = "d@bank.test", diagnostic: str = ""
) -> str:
    """The fields about one recipient."""
    code = f"Diagnostic-Code: {diagnostic}\n" if diagnostic else ""
    return f"Final-Recipient: rfc822; {recipient}\nAction: {action}\nStatus: {status}\n{code}"


def multipart(*groups: str, content_type: str = "message/delivery-status", after: str = "") -> bytes:
    """A notice about several recipients; *after* is what stands behind the part that machines read."""
    status = "\n".join(("Reporting-MTA: dns; mx.bank.test\n", *groups))
    text = (
        "From: Mail Delivery System <MAILER-DAEMON@mx.bank.test>\nSubject: Undelivered Mail\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type=delivery-status;\n boundary="A1.mx"\n\n'
        "This is a MIME-encapsulated message.\n\n--A1.mx\nContent-Type: text/plain\n\nSorry.\n\n"
        f"--A1.mx\nContent-Description: Delivery report\nContent-Type: {content_type}\n\n{status}\n"
        f"--A1.mx\nContent-Type: text/rfc822-headers\n\nSubject: Report Domain\n\n{after}--A1.mx--\n"
    )
    return text.encode().replace(b"\n", b"\r\n")
