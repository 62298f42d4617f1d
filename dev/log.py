"""The log as lines of text, for people."""

import logging


class LineFormatter(logging.Formatter):
    """Formats a log record as one line, with its `extra` as `name=value` at the end."""

    _usual = frozenset(vars(logging.makeLogRecord({}))) | {
        "message",
        "asctime",
        "color_message",
        "taskName",
    }

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        extra = [
            f"{name}={value}" for name, value in vars(record).items() if name not in self._usual
        ]
        return " ".join([super().format(record), *extra])
