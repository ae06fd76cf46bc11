"""Where files are: paths and URLs that fsspec opens, addresses in environment variables, and how errors show them."""

import gzip
import io
import os
import re
import sys
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from compat.errors import InvalidInputError
from compat.private import parent_of
from flows.sources.allowed import Allowed, ForbiddenError, Root
from flows.sources.documents import invalid

# An address with a secret is given, and shown, by the name of the environment variable that holds it.
VARIABLE = "env:"
# A password in a URL that isn't a JSON line: between a colon and the last @, since an unescaped password may contain / and @;
# digits up to a / are a port.
_USERINFO = r"(://[^/?#@\s]*:)(?!\d*(?:[/?#]|$)).*@"
# A secret in a query, by the names that services give it: password, sig, token, X-Amz-Signature, api_key. Upper and lower case
# are written out, since the pattern is the form's too, where no flags are known.
_NAMES = ("pass", "pwd", "secret", "token", "sig", "key", "credential", "auth")
_ANY_CASE = "|".join("".join(f"[{letter.upper()}{letter}]" for letter in name) for name in _NAMES)
_KEY = rf"[?&][^=&#\s]*(?:{_ANY_CASE})[^=&#\s]*="
# What stands in a user's place on the web is a token as often; a database's user alone is no secret.
_USER = r"(ttps?://)[^/?#@:\s]+@"
PASSWORD = rf"^\s*[^{{\s].*(?:{_USERINFO}|{_USER}|{_KEY})"
# Dask's file system only hands on to another one, and outside of a cluster it asks itself for ever.
_DASK = re.compile(r"(?:^|::)dask(?:://|::)", re.IGNORECASE)
# Bytes to read from a file at a time.
BUFFER = 2**20
# Bytes of a line, and of a file that is read as a whole. More isn't a document, but a mistake or an attack, such as a zip bomb.
LARGEST = 2**28


@dataclass(frozen=True)
class Address:
    """Where something is, and how errors show it: as the caller wrote it, without secrets.

    ``allowed`` is what may be read, where that is bounded.
    """

    field: str
    value: str
    shown: str
    allowed: Allowed | None = None

    @property
    def is_secret(self) -> bool:
        """Whether the address came from a variable and must not be shown."""
        return self.shown != self.value

    @property
    def given(self) -> str:
        """The address as the caller wrote it."""
        return self.shown if self.shown.startswith(VARIABLE) else self.value


@dataclass(frozen=True)
class Place:
    """A file or folder, wherever fsspec finds it. ``shown`` is how errors name it; they show nothing else of a secret one.

    Where what may be read is bounded, nothing outside of ``root`` is opened or asked for.
    """

    system: AbstractFileSystem
    path: str
    shown: str
    is_secret: bool
    root: Root | None = None

    @property
    def name(self) -> str:
        """The last part of the path."""
        # In a URL a key may follow the name.
        return PurePosixPath(self.path.partition("?")[0] if "://" in self.path else self.path).name

    @property
    def label(self) -> str:
        """The name by which errors call it."""
        # What stands in the address itself has no name.
        return self.shown if self.is_secret or self.path.startswith("data:") else self.name or self.shown

    @property
    def suffix(self) -> str:
        """The ending in lower case; of a compressed file both, such as ``.csv.gz``."""
        path = PurePosixPath(self.name.lower())
        return "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix

    @property
    def is_local(self) -> bool:
        """Whether it lies in this machine's own file system."""
        return isinstance(self.system, LocalFileSystem)

    @property
    def parent(self) -> "Place":
        """The folder that it lies in."""
        path = parent_of(self.system, self.path)
        return replace(self, path=path, shown=self.shown if self.is_secret else path)

    def child(self, name: str) -> "Place":
        """Return the file or folder of this name inside it."""
        return replace(self, path=f"{self.path.rstrip('/')}/{name}", shown=f"{self.shown.rstrip('/')}/{name}")

    def exists(self) -> bool:
        """Return whether it is there. Raises InvalidInputError where that can't be found out."""
        with self.readable():
            try:
                # Not `exists`, which returns False for what can't be reached or is forbidden.
                self.system.info(self.path)
            except FileNotFoundError as error:
                if _reason(error) is error:
                    return False
                raise
        return True

    def is_folder(self, unless: Container[str]) -> bool:
        """Return whether it is a folder; a name with one of these endings isn't, since on the web every page could be one."""
        with self.readable():
            return self.suffix not in unless and bool(self.system.isdir(self.path))

    def entries(self) -> list["Entry"]:
        """Return what is in the folder, by name. Of a web page that is a listing, what lies below it."""
        on_the_web = "://" in self.path
        with self.readable():
            found = self.system.ls(self.path, detail=True)
        entries = []
        for each in found:
            path = str(each["name"]).rstrip("/")
            name = PurePosixPath(path).name
            if on_the_web and ("?" in path or "#" in path or not path.startswith(self.path.split("?")[0].rstrip("/") + "/")):
                continue
            place = replace(self, path=path, shown=f"{self.shown.rstrip('/')}/{name}")
            # A listing on the web calls everything a file; what isn't read has no ending there.
            is_link = bool(each.get("islink"))
            is_folder = each.get("type") == "directory" or (is_link and bool(self.system.isdir(path)))
            entries.append(Entry(place, is_folder, is_link))
        return sorted(entries, key=lambda entry: entry.place.name)

    def matches(self) -> list["Place"]:
        """Return the files that the path means as a pattern, such as ``reports/*.pdf``, in the order of their names."""
        with self.readable():
            found = self.system.glob(self.path, detail=True)
        paths = sorted(str(path) for path, info in found.items() if info.get("type") != "directory")
        return [replace(self, path=path, shown=self.shown if self.is_secret else path) for path in paths]

    def open(self) -> Any:
        """Open the file for reading bytes; a file that ends in ``.gz`` is decompressed."""
        with self.readable():
            # Buffered here: fsspec seeks back to find a line's end, which a stream can't.
            file = io.BufferedReader(self.system.open(self.path, "rb"), BUFFER)
        return gzip.open(file, "rb") if self.suffix.endswith(".gz") else file

    def content(self) -> bytes:
        """Return the file's bytes, of which there are at most LARGEST."""
        with self.open() as file, self.readable():
            content: bytes = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise invalid(self.label, self.shown, f"is larger than {LARGEST // 2**20} MiB; split it")
        return content

    def text(self) -> str:
        """Return the whole file as text."""
        return decoded(self.content(), self.label, 1)

    @contextmanager
    def readable(self, where: Callable[[], str] | None = None) -> Iterator[None]:
        """Turn an error of a file system or a file's reader into an InvalidInputError that names the file, or the place in it."""
        try:
            if self.root is not None:
                self.root.check(self.path)
            yield
        except InvalidInputError:
            raise
        except Exception as error:
            if isinstance(_reason(error), ForbiddenError):
                raise invalid(self.label, self.shown, str(_reason(error))) from None
            if not _is_theirs(error):
                raise
            text = _in_words(_reason(error), self.is_secret)
            advice = f"can't be read ({text}); correct the file, its path or its permissions"
            raise invalid(where() if where else self.label, self.shown, advice) from None


@dataclass(frozen=True)
class Entry:
    """What a folder holds at one name."""

    place: Place
    is_folder: bool
    is_link: bool


def bounded(name: str, file: Any) -> Iterator[bytes]:
    """Yield a file's lines. Raises InvalidInputError for one of more than LARGEST bytes."""
    number = 0
    while line := file.readline(LARGEST + 1):
        number += 1
        if len(line) > LARGEST:
            raise invalid(f"{name} line {number}", line[:40], f"is longer than {LARGEST // 2**20} MiB; it is no document")
        yield line


def _is_theirs(error: Exception) -> bool:
    """Return whether an error comes from a file system, rather than from a fault of ours; each has its own classes."""
    # A compressed file that was cut off raises EOFError.
    if isinstance(error, OSError | ValueError | EOFError) or type(error).__module__ != "builtins":
        return True
    # Of an address that they didn't expect, file systems raise whatever comes: TypeError, IndexError, AttributeError.
    raised_in = error.__traceback__
    while raised_in is not None and raised_in.tb_next is not None:
        raised_in = raised_in.tb_next
    return raised_in is not None and Path(raised_in.tb_frame.f_code.co_filename).parent != Path(__file__).parent


def _reason(error: BaseException) -> BaseException:
    """Return the cause of an error: if a web server is down or refuses, fsspec only says that the file isn't found."""
    while isinstance(error, FileNotFoundError) and error.__cause__ is not None:
        if getattr(error.__cause__, "status", None) == HTTPStatus.NOT_FOUND:
            break
        error = error.__cause__
    return error


def _in_words(error: BaseException, is_secret: bool) -> str:
    """Return an error in words; for a secret place without the error's own, which may show the address."""
    text = getattr(error, "strerror", None)
    status = getattr(error, "status", None)
    if is_secret:
        # A file system puts what it likes into the error's text, the whole address of another one included.
        number = getattr(error, "errno", None)
        return os.strerror(number) if isinstance(number, int) else f"{type(error).__name__} {status or ''}".strip()
    return without_secrets(str(text) if text and not status else f"{type(error).__name__}: {error}")


def address_of(field: str, given: str, allowed: Allowed | None = None) -> Address:
    """Return the address itself, or the one that an environment variable holds."""
    if not given.startswith(VARIABLE):
        return Address(field, given, without_secrets(given), allowed)
    name = given.removeprefix(VARIABLE)
    found = os.environ.get(name)
    if not found:
        raise invalid(field, given, f"there is no environment variable {name} here; set it where the batch runs")
    return Address(field, found, given, allowed)


def place_of(address: Address) -> Place:
    """Return where an address leads. Raises InvalidInputError for one that fsspec doesn't know, or that may not be read."""
    if _DASK.search(address.value):
        raise invalid(address.field, address.shown, "dask: leads through Dask to another file system; name that one")
    try:
        with _nothing_said():
            root = address.allowed.root(address.given, address.value) if address.allowed else None
            system, path = url_to_fs(address.value)
        return Place(root.system if root else system, path, address.shown, address.is_secret, root)
    except ForbiddenError as error:
        advice = str(error)
    except ImportError as error:
        advice = f"{error}; install that package for its file system"
    except TypeError as error:
        # What a file system needs besides: a host, or the name of an account.
        needed = ", ".join(re.findall(r"'(\w+)'", str(error))) if "missing" in str(error) else ""
        advice = f"its address is incomplete{f' (it needs {needed})' if needed else ''}; name a path, or a whole URL"
    except Exception as error:
        if not _is_theirs(error):
            raise
        advice = f"can't be reached ({_in_words(error, address.is_secret)}); name a path, or a URL that fsspec can open"
    raise invalid(address.field, address.shown, advice)


@contextmanager
def _nothing_said() -> Iterator[None]:
    """Keep from the terminal what a half-made file system complains of while it is thrown away."""
    before = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    try:
        yield
    finally:
        sys.unraisablehook = before


def has_password(address: str) -> bool:
    """Return whether an address contains a password."""
    return re.search(PASSWORD, address) is not None


def without_secrets(address: str) -> str:
    """Return an address as errors may show it: without a password, and without what follows a URL's ``?`` (keys, signatures)."""
    hidden = re.sub(_USER, r"\1***@", re.sub(_USERINFO, r"\1***@", address))
    return re.sub(r"\?.*", "?…", hidden) if "://" in address else hidden


def decoded(content: bytes, name: str, line: int) -> str:
    """Return a file's text from this line on. The first line may begin with the byte order mark of Windows."""
    try:
        return content.decode("utf-8-sig" if line == 1 else "utf-8")
    except UnicodeDecodeError as error:
        line += content[: error.start].count(b"\n")
        raise invalid(f"{name} line {line}", content[error.start : error.end], "isn't UTF-8; save the file as UTF-8") from None
