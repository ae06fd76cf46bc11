"""Servers that Prefect's clients find broken: they hang, answer slowly and then with an error, break off, or aren't there."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread


def hang(connection: socket.socket) -> None:
    # Until the test that listens has ended.
    with suppress(OSError):
        while connection.recv(65536):
            pass


def answer_slowly(connection: socket.socket) -> None:
    connection.recv(65536)
    time.sleep(1)
    connection.sendall(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    connection.close()


def crash(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    connection.close()


@contextmanager
def serving(behave: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[socket.socket]]]:
    """A server that takes connections and then does this; its address, and who has come."""
    came: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    came.append(listening.accept()[0])
                    Thread(target=behave, args=(came[-1],), daemon=True).start()

        Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/api", came
        listening.shutdown(socket.SHUT_RDWR)
    for connection in came:
        connection.close()


def closed_port() -> str:
    """The address of an API that isn't there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/api"
