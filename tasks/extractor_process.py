"""A process that extracts: a program of its own, run by its path. It knows neither the database nor Prefect.

What comes in: the import path as JSON, then the settings, then one document after another. What goes out, per document: ``R`` and
the result as JSON, or ``E`` and a stored error. It ends when the connection is closed, or with its parent.
"""

import json
import os
import pickle
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection

# How often a process looks whether its parent is there, in seconds.
LOOK_SECONDS = 0.5


def end_with(parent: int) -> None:
    """Wait until the parent is gone, then end this process: nobody is left to take an answer."""
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os._exit(0)


def main(descriptor: int) -> None:
    """Extract what comes over a connection until that is closed."""
    threading.Thread(target=end_with, args=(os.getppid(),), name="parent", daemon=True).start()
    connection = Connection(descriptor)
    # Before anything of ours is imported: the extractor's module is found where the parent finds it.
    sys.path[:] = json.loads(connection.recv_bytes())
    from compat.recording.output import checked
    from compat.stored_errors import StoredError
    from tasks.extraction import load_extractor

    settings = connection.recv()
    extractor = None
    ontologies: dict[str, str] = {}
    with suppress(EOFError, OSError):
        while True:
            text, key, ontology, config = connection.recv()
            if ontology is not None:
                ontologies[key] = ontology
            try:
                if extractor is None:
                    extractor = load_extractor(settings.extractor, settings)
                # As in a thread, before JSON has made null of NaN.
                answer = b"R" + checked(extractor.run(text, ontologies[key], config), text).json.encode()
            except BaseException as error:
                # Also SystemExit and its like: raised by an extractor, they fail its document.
                answer = b"E" + pickle.dumps(StoredError.of(error))
            connection.send_bytes(answer)


if __name__ == "__main__":
    main(int(sys.argv[1]))
