"""IP addresses as mail names them."""

from ipaddress import IPv6Address, ip_address

from appliance.mail.message import IPAddress


def parse_ip(text: str) -> IPAddress | None:
    """An address with or without ``IPv6:`` before it (RFC 5321 section 4.1.3), ``unmapped``.

    ``None`` for anything else, an address with a scope included.
    """
    try:
        ip = ip_address(text[5:] if text[:5].lower() == "ipv6:" else text)
    except ValueError:
        return None
    return None if isinstance(ip, IPv6Address) and ip.scope_id is not None else unmapped(ip)


def unmapped(ip: IPAddress) -> IPAddress:
    """The IPv4 address that an IPv4-mapped one stands for (SPF-13); any other stays."""
    return (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip
