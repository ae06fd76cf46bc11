"""The text of a document's file. Whatever isn't plain text is read in a process of its own, with limits of time and memory."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from flows.sources import text_process
from flows.sources.places import Place

PLAIN = (".txt", ".md")
ENDINGS = (*PLAIN, *text_process.READERS)


class UnreadableError(Exception):
    """A file whose text can't be had; the message says why. The other files of its source are read all the same."""


@dataclass(frozen=True)
class FileText:
    """The text of a file, the library that read it, with its version, and parts that were left out, such as attachments."""

    text: str
    reader: str = ""
    left_out: tuple[str, ...] = ()


class TextReader:
    """Reads files one after the other, by a process that starts with the first one that needs it.

    That process forks for each file: a file that takes too long, wants too much memory or brings a library down fails alone.
    """

    def __init__(self, seconds: int = text_process.SECONDS, memory: int = text_process.MEMORY) -> None:
        self._limits = (str(seconds), str(memory))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process is not None:
            if error is not None:
                # Nobody waits for the file that it may be in; its fork is of the same group.
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
            # At the end of its input it ends.
            with self._process:
                pass

    def read(self, place: Place) -> FileText:
        """Return a file's text. Raises UnreadableError, or InvalidInputError where the file can't be fetched."""
        content = place.content()
        if place.suffix in PLAIN:
            return FileText(_plain(content))
        with tempfile.NamedTemporaryFile(prefix="knowledge-batch-", suffix=place.suffix) as file:
            file.write(content)
            file.flush()
            found = self._ask(file.name, place.suffix)
        if "error" in found:
            raise UnreadableError(found["error"])
        if not found["text"].strip():
            raise UnreadableError("holds no text; a scan needs OCR first")
        return FileText(found["text"], found["reader"], tuple(found["leftOut"]))

    def _ask(self, path: str, suffix: str) -> dict[str, Any]:
        if self._process is None:
            # By its file: it imports nothing of ours. With -P, its folder's modules aren't taken for others of their names.
            command = [sys.executable, "-P", str(Path(text_process.__file__)), *self._limits]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True)  # noqa: S603 -- our own
        assert self._process.stdin  # noqa: S101 -- a pipe
        assert self._process.stdout  # noqa: S101 -- a pipe
        line = b""
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps([path, suffix]).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            with self._process:
                self._process = None
            return {"error": "its reader ended without an answer"}
        answer: dict[str, Any] = json.loads(line)
        return answer


def _plain(content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UnreadableError(f"isn't UTF-8 (line {line}); save it as UTF-8") from None
    if "\0" in text:
        raise UnreadableError("holds NUL characters, so it isn't text")
    return text
