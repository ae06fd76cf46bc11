"""Servers that Prefect's clients find broken: they hang, answer slowly and then with an error, break off, or aren't there."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from urllib.parse import urlsplit


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


@contextmanager
def relaying(api: str) -> Iterator[tuple[str, Event]]:
    """A server that hands everything on to a real one, until the event is set; then it takes whatever comes and says nothing."""
    there = urlsplit(api)
    silent = Event()

    def hand_on(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(65536):
                if not silent.is_set():
                    target.sendall(content)
            if not silent.is_set():
                target.shutdown(socket.SHUT_WR)

    def relay(connection: socket.socket) -> None:
        if silent.is_set():
            hang(connection)
            return
        beyond = socket.create_connection((there.hostname or "", there.port or 80))
        Thread(target=hand_on, args=(beyond, connection), daemon=True).start()
        hand_on(connection, beyond)

    with serving(relay) as (url, _):
        yield url, silent


def closed_port() -> str:
    """The address of an API that isn't there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/api"
