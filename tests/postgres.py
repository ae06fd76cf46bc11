"""A PostgreSQL of the tests' own: a cluster in a temporary folder, on a socket and port that nobody else has."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from select import select

import sqlalchemy

from compat.store.database import SHADOW, Database


def upgrade(url: str) -> None:
    """As ``knowledge-batch db upgrade`` does it."""
    for namespace in (None, SHADOW):
        Database(url, namespace, upgrade=True).engine.dispose()


@contextmanager
def fresh(server: str, template: str = "template1") -> Iterator[str]:
    """A database of the caller's own on a server, as a copy of another one that nobody has open; yields its URL."""
    name = f"kb_{uuid.uuid4().hex[:12]}"
    administrator = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT")
    with administrator.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield sqlalchemy.make_url(server).set(database=name).render_as_string(hide_password=False)
    with administrator.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    administrator.dispose()


def binaries() -> Path | None:
    """The folder of PostgreSQL's server programs, where it is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


@dataclass(frozen=True)
class Cluster:
    """A running cluster: the URL of its database `postgres`, and what stops and starts it."""

    url: str
    stop: Callable[[], None]
    start: Callable[[], None]


@contextmanager
def cluster(programs: Path, durable: bool = False) -> Iterator[Cluster]:
    """A cluster that runs, and is removed at the end. ``durable``: on a disk, and a commit waits for it."""
    # PostgreSQL refuses to run as root; Debian's package made this user.
    user = "postgres" if os.geteuid() == 0 else None
    # In memory where there is a place for it: a database a test is copied ten times sooner there than on a disk.
    memory = Path("/dev/shm")  # noqa: S108 -- the folder within is ours alone
    folder = Path(tempfile.mkdtemp(prefix="kb-pg-", dir=memory if memory.is_dir() and not durable else None))
    if user:
        account = pwd.getpwnam(user)
        os.chown(folder, account.pw_uid, account.pw_gid)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def call(program: str, *arguments: str) -> None:
        subprocess.run(
            [programs / program, *arguments], user=user, cwd=folder, check=True, capture_output=True, env={"LC_ALL": "C"}
        )

    data = str(folder / "data")
    options = f"-p {port} -h 127.0.0.1 -k {folder} -c fsync={'on' if durable else 'off'} -c max_connections=200"
    try:
        call("initdb", "-D", data, "-A", "trust", "-U", "test", "-E", "UTF8")
        # Its own log file: pg_ctl would hand the server our pipes, and waiting on them never ends.
        start = partial(call, "pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        stop = partial(call, "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        start()
        try:
            yield Cluster(f"postgresql+psycopg://test@127.0.0.1:{port}/postgres", stop, start)
        finally:
            if (folder / "data" / "postmaster.pid").exists():
                stop()
    finally:
        shutil.rmtree(folder)


class Relay:
    """A way to PostgreSQL that loses the answer to a commit once it is asked to."""

    def __init__(self, host: str, port: int) -> None:
        self.loses_answer = False
        self._address = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                threading.Thread(target=self._carry, args=(client, socket.create_connection(self._address)), daemon=True).start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        # An end that goes away ends the other.
        with client, server, suppress(OSError):
            while True:
                for ready in select([client, server], [], [])[0]:
                    data = ready.recv(65536)
                    (server if ready is client else client).sendall(data)
                    if not data:
                        return
                    if ready is client and self.loses_answer and b"COMMIT\0" in data:
                        self.loses_answer = False
                        server.recv(65536)
                        return
