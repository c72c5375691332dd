"""``python read_reports.py FOLDER``: what parsedmarc finds in the reports of the folder, as JSON.

It runs by itself in the environment of the parsedmarc that is to read, so it imports nothing of ours.
"""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import parsedmarc


class Complaints(logging.Handler):
    """Collects what parsedmarc warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def read(path: Path, complaints: Complaints) -> dict[str, Any]:
    complaints.texts = []
    parsed = parsedmarc.parse_report_email(path.read_bytes(), offline=True)
    return {"type": parsed["report_type"], "report": parsed["report"], "complaints": complaints.texts}


def main(folder: str) -> None:
    complaints = Complaints()
    logging.getLogger().addHandler(complaints)
    found = {path.name: read(path, complaints) for path in sorted(Path(folder).glob("*.eml"))}
    print(json.dumps(found, default=str))


if __name__ == "__main__":
    main(sys.argv[1])
