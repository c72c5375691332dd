"""A small authoritative DNS server for samples and tests, which can also misbehave name by name (RFC 1034, RFC 4592)."""

from appliance.lab.nameserver.rendering import Query
from appliance.lab.nameserver.server import NameServer
from appliance.lab.nameserver.zone import Behaviour, Crafted, Misbehaviour, Slow, Zone

__all__ = ["Behaviour", "Crafted", "Misbehaviour", "NameServer", "Query", "Slow", "Zone"]
