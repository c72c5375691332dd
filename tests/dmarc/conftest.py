"""A zone of DMARC records for the pure core: a dictionary, and a list of what was asked."""

from collections.abc import Callable, Mapping, Sequence

import pytest

from appliance.dmarc.discovery import Lookup, LookupFailed
from appliance.dmarc.record import DmarcRecord, select_record


@pytest.fixture(scope="session")
def lookup_in() -> Callable[[Mapping[str, Sequence[str] | None], list[str]], Lookup]:
    """Makes a look-up in a zone of TXT records by domain (``_dmarc.`` left out); ``None`` times out.

    Each domain that was asked for is noted once in the list.
    """

    def make(zone: Mapping[str, Sequence[str] | None], asked: list[str]) -> Lookup:
        def lookup(domain: str) -> DmarcRecord | None:
            if domain not in asked:
                asked.append(domain)
            texts = zone.get(domain, ())
            if texts is None:
                raise LookupFailed("timeout")
            return select_record(text.encode() for text in texts)

        return lookup

    return make
