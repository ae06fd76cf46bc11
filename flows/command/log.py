"""The command's log file."""

import fcntl
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path

from compat.errors import HomeUnavailableError
from compat.keepable import one_line
from compat.settings import Settings

MAX_BYTES = 10_000_000
OLDER_FILES = 3


class Neutral(logging.Formatter):
    """Messages as one line each: a foreign text in them can neither begin a line nor control a terminal that shows the file."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- logging's name
        """Return the line; a traceback follows it as it is."""
        record.message = one_line(record.message)
        return super().formatMessage(record)


class LogFile(logging.Handler):
    """``logs/knowledge-batch.log`` in the home, made with the first line, begun anew at 10 MB, with three older files kept.

    Processes share it. Each takes its turn and opens the file for one line, so none goes on writing to a file that another
    has put aside, and no two put it aside at once.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        super().__init__()
        self.max_bytes = max_bytes
        self._complained = False
        self.setFormatter(Neutral("%(asctime)s %(process)d %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Append one line."""
        try:
            folder = Settings.load().make_home("logs")
            with _turn(folder), closing(self._open(folder / "knowledge-batch.log")) as file:
                file.emit(record)
        except HomeUnavailableError as error:
            # One sentence, once: the batch doesn't need its log.
            if not self._complained:
                sys.stderr.write(f"no log is written: {error}\n")
            self._complained = True
        except Exception:
            self.handleError(record)

    def _open(self, path: Path) -> RotatingFileHandler:
        # It may quote documents: for its owner alone, as all of the home.
        os.close(os.open(path, os.O_CREAT, 0o600))
        file = RotatingFileHandler(path, maxBytes=self.max_bytes, backupCount=OLDER_FILES, encoding="utf-8", delay=True)
        file.setFormatter(self.formatter)
        return file


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Wait until no other process writes to the logs of this folder."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
