"""One form of a report on its way into a mail: checked and compressed while it is written, never whole in memory as XML."""

import gzip
import io
from collections.abc import Callable, Sequence

from appliance.settings import ReportForm
from reporting.aggregate_check import ReportCheck
from reporting.aggregate_xml import Sink, Totals
from reporting.legacy import as_legacy

COMPRESSION = 6  # 9 takes twice the time for a twentieth less


class TooLarge(Exception):
    """The attachment grows beyond what it may have."""


class Attachment:
    """Takes the writer's pieces, and becomes the file that is attached."""

    def __init__(self, form: ReportForm, most_octets: int | None) -> None:
        """*most_octets* is the limit of the compressed file; ``None``: it has none."""
        self._convert: Callable[[bytes], bytes] = as_legacy if form is ReportForm.LEGACY else bytes
        self._check = ReportCheck(form)
        self._most_octets = most_octets
        self._file = io.BytesIO()
        self._gzip = gzip.GzipFile("", "wb", COMPRESSION, self._file, mtime=0)

    def write(self, octets: bytes) -> None:
        """Raises ``InvalidReport`` or ``TooLarge``."""
        piece = self._convert(octets)
        self._check.feed(piece)
        self._gzip.write(piece)
        self._stop_if_large()

    def close(self) -> Totals:
        """What was read in it by the check. Raises ``InvalidReport`` or ``TooLarge``."""
        totals = self._check.close()
        self._gzip.close()
        self._stop_if_large()
        return totals

    @property
    def xml_gz(self) -> bytes:
        """The file, once it is closed."""
        return self._file.getvalue()

    def _stop_if_large(self) -> None:
        if self._most_octets is not None and self._file.tell() > self._most_octets:
            raise TooLarge


class Each:
    """Writes the same to each of several sinks."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks

    def write(self, octets: bytes) -> None:
        for sink in self._sinks:
            sink.write(octets)
