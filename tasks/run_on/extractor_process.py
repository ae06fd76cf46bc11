"""A process that extracts: a program of its own, run by its path. It knows neither the database nor Prefect.

What comes in: the import path as JSON, then the settings, then one document after another. What goes out, per document: ``R`` and
the result as JSON, or ``E`` and a stored error. It ends when the connection is closed, or with its parent.
"""

import json
import os
import sys
import threading
import time
from contextlib import suppress
from functools import cache
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
    from tasks.extraction import load_extractor
    from tasks.run_on.answers import answer

    settings = connection.recv()
    # Loaded at the first document: what a factory raises fails documents, as in a thread.
    load = cache(lambda: load_extractor(settings.extractor, settings))
    ontologies: dict[str, str] = {}
    with suppress(EOFError, OSError):
        while True:
            text, key, ontology, config = connection.recv()
            if ontology is not None:
                ontologies[key] = ontology
            connection.send_bytes(answer(load, text, ontologies[key], config))


if __name__ == "__main__":
    main(int(sys.argv[1]))
