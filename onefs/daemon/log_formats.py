"""The forms of a line of the log: text, text for the journal, JSON. None shows what looks like a secret."""

import json
import logging
from datetime import UTC, datetime

from onefs.redaction import redacted
from onefs.text import visible

TEXT, JSON = "text", "json"
_PRIORITIES = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
"""The priorities of syslog by level."""
_INDENT = "    "


class VisibleFormatter(logging.Formatter):
    """Lines with control characters escaped, and without what looks like a secret.

    Those behind the first are indented: a name with a line break in it cannot pass for a line of the log.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The lines of a record."""
        return f"\n{_INDENT}".join(map(visible, redacted(super().format(record)).split("\n")))


class JsonFormatter(logging.Formatter):
    """One JSON object a record: time in UTC, level, part of onefs, message, and the traceback of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        """The object of a record, in one line."""
        name = record.name.split(".")
        told = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "part": name[1] if name[0] == "onefs" and len(name) > 1 else name[0],
            "logger": record.name,
            "message": _valid(redacted(record.getMessage())),
        }
        if record.exc_info:
            told["exception"] = _valid(redacted(self.formatException(record.exc_info)))
        return json.dumps(told)


def _valid(text: str) -> str:
    """The text with bytes of names that are not UTF-8 escaped: programs refuse JSON with halves of letters."""
    return text.encode(errors="backslashreplace").decode()


class JournalFormatter(logging.Formatter):
    """Lines of another formatter, each with the prefix by which the journal knows its priority."""

    def __init__(self, lines: logging.Formatter) -> None:
        super().__init__()
        self._lines = lines

    def format(self, record: logging.LogRecord) -> str:
        """The lines of a record."""
        prefix = f"<{_PRIORITIES.get(record.levelname, 6)}>"
        return "\n".join(prefix + line for line in self._lines.format(record).split("\n"))


def formatter(form: str, *, for_journal: bool = False) -> logging.Formatter:
    """The formatter of `text` or `json`. The journal knows time and level of each line by itself."""
    if form == JSON:
        lines: logging.Formatter = JsonFormatter()
    elif for_journal:
        lines = VisibleFormatter("%(name)s: %(message)s")
    else:
        lines = VisibleFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    return JournalFormatter(lines) if for_journal else lines
