"""The process of the embedded server: a program of its own, run by its path so that nothing in the working directory shadows it.

It ends as soon as its parent does, however that ended: the kernel closes the pipe that the parent holds open.
"""

import os
import socket
import sys
import threading


def end_with(parent: int) -> None:
    """Wait until the pipe's other end is closed, then end this process at once: nobody is left to answer."""
    os.read(parent, 1)
    os._exit(0)


def main(listening: int, parent: int, packages: str) -> None:
    """Serve Prefect's API on a socket that listens already.

    Args:
        listening: The socket's file descriptor.
        parent: The read end of the parent's pipe.
        packages: Folder in which the parent found Prefect.
    """
    threading.Thread(target=end_with, args=(parent,), name="parent", daemon=True).start()
    sys.path.append(packages)
    import uvicorn

    application = "prefect.server.api.server:create_app"
    config = uvicorn.Config(application, factory=True, log_level="error", lifespan="on")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=listening)])


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
