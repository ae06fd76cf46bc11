"""Documents in processes beside the batch's own, one for each core."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
import threading
from contextlib import suppress
from multiprocessing import Pipe
from pathlib import Path

from compat.contracts import PipelineConfig
from compat.settings import Settings
from tasks.run_on.answers import ExtractorProcessDiedError

PROGRAM = Path(__file__).with_name("extractor_process.py")
# A process that is told to end and has a document in work gets this long.
END_SECONDS = 5.0


class ExtractorProcesses:
    """Processes, at most one for each core, started when documents ask for them and kept for the batch.

    A process has one document at a time, so one that dies costs that document's attempt alone; the next document starts another.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._places = threading.BoundedSemaphore(os.cpu_count() or 1)
        self._idle: list[ExtractorProcess] = []
        self._lock = threading.Lock()

    def ask(self, text: str, ontology: str, config: PipelineConfig) -> bytes:
        """Return the answer for one document. Raises ExtractorProcessDiedError."""
        with self._places:
            with self._lock:
                process = self._idle.pop() if self._idle else None
            process = process or ExtractorProcess(self._settings)
            try:
                answer = process.ask(text, ontology, config)
            except BaseException:
                # Dead, or with an answer under way that nobody waits for.
                process.close(seconds=0)
                raise
            with self._lock:
                self._idle.append(process)
        return answer

    def close(self) -> None:
        """End the processes, all of which are idle where the batch has ended."""
        with self._lock:
            while self._idle:
                self._idle.pop().close(END_SECONDS)


class ExtractorProcess:
    """One process, and the connection to it."""

    def __init__(self, settings: Settings) -> None:
        self._connection, theirs = Pipe()
        self._known: set[str] = set()
        with theirs:
            # Not multiprocessing's own start, which runs the caller's program again; in a session of its own, since Ctrl-C
            # in a terminal asks the batch to stop, and the documents in work are to finish.
            self._process = subprocess.Popen(  # noqa: S603 -- our own interpreter, no input of anybody's
                [sys.executable, "-P", str(PROGRAM), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno() if _has_file(sys.stderr) else subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        here = str(Path.cwd())
        self._first = [json.dumps([each or here for each in sys.path]).encode(), pickle.dumps(settings)]

    def ask(self, text: str, ontology: str, config: PipelineConfig) -> bytes:
        """Return the answer for one document. Raises ExtractorProcessDiedError."""
        key = hashlib.sha256(ontology.encode("utf-8", "surrogatepass")).hexdigest()
        try:
            while self._first:
                self._connection.send_bytes(self._first.pop(0))
            self._connection.send((text, key, None if key in self._known else ontology, config))
            self._known.add(key)
            return self._connection.recv_bytes()
        except (EOFError, OSError):
            self._process.wait(END_SECONDS)
            raise ExtractorProcessDiedError(
                f"the process that extracted it ended with {self._process.returncode}; a negative number is a signal, "
                "and -9 is often a lack of memory"
            ) from None

    def close(self, seconds: float) -> None:
        """End the process: it reads that the connection is closed, or is killed after so many seconds."""
        self._connection.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
            return
        self._process.kill()
        self._process.wait()


def _has_file(stream: object) -> bool:
    """Return whether a stream is one of the operating system's; a notebook's or a test's isn't."""
    try:
        return isinstance(stream.fileno(), int)  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return False
