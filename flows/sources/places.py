"""Where files are: paths and URLs that fsspec opens, addresses that environment variables hold, and how errors say them."""

import io
import os
import re
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from compat.errors import InvalidInputError
from flows.sources.documents import refused

# An address that holds a secret is said by the name of the environment variable that holds it.
VARIABLE = "env:"
# A password in a URL that isn't a JSON line: between a colon and the last @, since who writes one unescaped may use both a / and
# an @ in it; digits up to a / are a port.
_USERINFO = r"(://[^/?#@\s]*:)(?!\d*(?:[/?#]|$)).*@"
PASSWORD = rf"^\s*[^{{\s].*(?:{_USERINFO}|[?&]password=)"
# Bytes of a file that are read at a time.
BUFFER = 2**20


@dataclass(frozen=True)
class Address:
    """Where something lies, and how errors say so: as the caller wrote it, without a secret."""

    field: str
    value: str
    shown: str

    @property
    def is_secret(self) -> bool:
        return self.shown != self.value


@dataclass(frozen=True)
class Place:
    """A file or folder, wherever fsspec finds it. ``shown`` is what errors call it; of a secret one they say nothing else."""

    system: AbstractFileSystem
    path: str
    shown: str
    is_secret: bool

    @property
    def name(self) -> str:
        # On the web a key may follow the name.
        return PurePosixPath(self.path.partition("?")[0] if "://" in self.path else self.path).name

    @property
    def label(self) -> str:
        return self.shown if self.is_secret else self.name

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> "Place":
        path = self.system._parent(self.path)
        return replace(self, path=path, shown=self.shown if self.is_secret else path)

    def child(self, name: str) -> "Place":
        return replace(self, path=f"{self.path.rstrip('/')}/{name}", shown=f"{self.shown.rstrip('/')}/{name}")

    def exists(self) -> bool:
        with self.readable():
            try:
                # Not `exists`, for which whatever is away or forbidden isn't there.
                self.system.info(self.path)
            except FileNotFoundError as error:
                if _reason(error) is error:
                    return False
                raise
        return True

    def is_folder(self, unless: Container[str]) -> bool:
        """Whether it is a folder; what ends like one of these is none, since on the web every page could be."""
        with self.readable():
            return self.suffix not in unless and bool(self.system.isdir(self.path))

    def children(self, *suffixes: str) -> list["Place"]:
        with self.readable():
            paths = [str(path) for path in self.system.ls(self.path, detail=False)]
        places = [replace(self, path=path, shown=f"{self.shown.rstrip('/')}/{PurePosixPath(path).name}") for path in paths]
        return sorted((place for place in places if place.suffix in suffixes), key=lambda place: place.name)

    def open(self) -> Any:
        """A binary file object."""
        with self.readable():
            # Buffered here: what comes in one stream can't be gone back in, as fsspec does to find a line's end.
            return io.BufferedReader(self.system.open(self.path, "rb"), BUFFER)

    def text(self) -> str:
        with self.open() as file, self.readable():
            content: bytes = file.read()
        return decoded(content, self.label, 1)

    @contextmanager
    def readable(self, where: Callable[[], str] | None = None) -> Iterator[None]:
        """Turns what a file system or a file's reader says into a refusal that names the file, or where in it that was."""
        try:
            yield
        except InvalidInputError:
            raise
        except Exception as error:
            if not _is_theirs(error):
                raise
            said = _said(_reason(error), self.is_secret)
            advice = f"can't be read ({said}); mend the file, its path or its permissions"
            raise refused(where() if where else self.label, self.shown, advice) from None


def _is_theirs(error: Exception) -> bool:
    """Whether an error tells of the world and not of a fault of ours: every file system has classes of its own."""
    return isinstance(error, OSError | ValueError) or type(error).__module__ != "builtins"


def _reason(error: BaseException) -> BaseException:
    """What is behind an error: on the web fsspec says of a server that is away, or refuses, that the file isn't found."""
    while isinstance(error, FileNotFoundError) and error.__cause__ is not None:
        if getattr(error.__cause__, "status", None) == HTTPStatus.NOT_FOUND:
            break
        error = error.__cause__
    return error


def _said(error: BaseException, is_secret: bool) -> str:
    """An error in words; of a secret place without its own, which may say the address."""
    said = getattr(error, "strerror", None)
    status = getattr(error, "status", None)
    if is_secret or (said and not status):
        return said or (f"{type(error).__name__} {status}" if status else type(error).__name__)
    return without_secrets(f"{type(error).__name__}: {error}")


def address_of(field: str, given: str) -> Address:
    """The address itself, or the one that an environment variable holds."""
    if not given.startswith(VARIABLE):
        return Address(field, given, without_secrets(given))
    name = given.removeprefix(VARIABLE)
    found = os.environ.get(name)
    if not found:
        raise refused(field, given, f"no environment variable {name} here; set it where the batch runs")
    return Address(field, found, given)


def place_of(address: Address) -> Place:
    try:
        system, path = url_to_fs(address.value)
        return Place(system, path, address.shown, address.is_secret)
    except ImportError as error:
        advice = f"{error}; its file system is a package of its own"
    except Exception as error:
        if not _is_theirs(error):
            raise
        advice = f"can't be reached ({_said(error, address.is_secret)}); name a path, or a URL that fsspec knows and reaches"
    raise refused(address.field, address.shown, advice)


def has_password(address: str) -> bool:
    """Whether an address says a password to whoever reads it."""
    return re.search(PASSWORD, address) is not None


def without_secrets(address: str) -> str:
    """An address as errors may say it: no password, and of a URL nothing behind its ``?``, where keys and signatures stand."""
    hidden = re.sub(_USERINFO, r"\1***@", address)
    return re.sub(r"\?.*", "?…", hidden) if "://" in address else hidden


def decoded(content: bytes, name: str, line: int) -> str:
    """A file's text from this line on. Whoever saves as UTF-8 on Windows puts a mark in front of the first."""
    try:
        return content.decode("utf-8-sig" if line == 1 else "utf-8")
    except UnicodeDecodeError as error:
        line += content[: error.start].count(b"\n")
        raise refused(f"{name} line {line}", content[error.start : error.end], "isn't UTF-8; save the file as UTF-8") from None
