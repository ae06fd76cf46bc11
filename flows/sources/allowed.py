"""What runs of the deployments may read: the sample, what their deployment names, and what KNOWLEDGE_SOURCES_ALLOW lists."""

import ipaddress
import os
import posixpath
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from compat.errors import InvalidInputError, Problem
from compat.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import URL

VARIABLE = "KNOWLEDGE_SOURCES_ALLOW"
# What no documents lie in, and secrets of the machine do.
SYSTEM_FOLDERS = ("/etc", "/proc", "/sys", "/dev", "/run", "/var/run", "/boot")
# Here a URL's host is the name of a bucket, not of a machine.
BUCKETS = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "memory")
_REFUSED = f"may not be read by runs of a deployment; whoever runs the worker can allow its folder or URL with {VARIABLE}"


class ForbiddenError(Exception):
    """A run of a deployment may not read this; the message says why, and what to do."""


@dataclass(frozen=True)
class Root:
    """One place that may be read, with all that is below it.

    Attributes:
        allowed: What may be read besides: a redirect may lead there.
        system: The file system that it is in.
        path: Its path there; of a local one without symbolic links.
        server: Scheme and server of its URL; empty for local files.
        is_listed: Whether the operator listed it; then its server may be this machine.
    """

    allowed: "Allowed"
    system: AbstractFileSystem
    path: str
    server: str
    is_listed: bool

    def check(self, path: str) -> None:
        """Raise ForbiddenError unless a path of this file system is here or below."""
        if isinstance(self.system, LocalFileSystem):
            real = os.path.realpath(path)
            _check_folder(real)
            inside = _is_below(real, self.path)
        else:
            plain = unquote(path.partition("?")[0])
            inside = ".." not in plain.replace("\\", "/").split("/") and _is_below(plain, self.path)
        if not inside:
            raise ForbiddenError(_REFUSED)

    async def client(self, **arguments: Any) -> Any:
        """Return a web client that follows redirects to what may be read alone, and connects to no address of this machine."""
        import aiohttp
        from aiohttp.resolver import ThreadedResolver

        may_be_here = self.is_listed

        class Resolver(ThreadedResolver):
            async def resolve(self, *host: Any, **options: Any) -> Any:
                found = await super().resolve(*host, **options)
                for each in found:
                    _check_address(each["host"], may_be_here)
                return found

        async def follow(_: Any, __: Any, redirect: Any) -> None:
            target = urljoin(str(redirect.response.url), redirect.response.headers.get("Location", ""))
            try:
                self.check(target)
            except ForbiddenError:
                self.allowed.root(target, target)

        trace = aiohttp.TraceConfig()
        trace.on_request_redirect.append(follow)
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Resolver()), trace_configs=[trace], **arguments)


@dataclass(frozen=True)
class Allowed:
    """What may be read. ``listed`` is the operator's list, ``named`` what the run's deployment names as its own parameters."""

    listed: tuple[str, ...] = ()
    named: frozenset[str] = frozenset()

    @classmethod
    def of(cls, settings: Settings, named: Iterable[str] = ()) -> "Allowed":
        """Return what the settings list, and what a deployment names. Raises InvalidInputError for an entry that is no place."""
        listed = tuple(each.strip() for each in (settings.sources_allow or "").split(",") if each.strip())
        for entry in listed:
            if "::" in entry or not (entry.startswith(("/", "~", "env:")) or "://" in entry):
                advice = "isn't a whole path, a URL or env:NAME; list those, with commas between them"
                raise InvalidInputError([Problem(VARIABLE, entry, advice)])
        return cls(listed, frozenset(each for each in named if each))

    def root(self, given: str, value: str) -> Root:
        """Return the root that an address lies in. Raises ForbiddenError where it lies in none.

        Args:
            given: The address as it was written, ``env:NAME`` perhaps.
            value: The address that this stands for.
        """
        if "::" in value:
            # A chain of file systems: what it opens in the end isn't its own address.
            raise ForbiddenError(_REFUSED)
        if given in self.listed or given in self.named:
            return self._root(value, given in self.listed, whole=False)
        system, path = url_to_fs(value)
        if isinstance(system, LocalFileSystem):
            # Whatever is listed: so the advice isn't to list it.
            _check_folder(os.path.realpath(path))
        for entry in (*self.listed, str(files("deployments") / "sample")):
            if entry.startswith("env:") or _server(entry) != _server(value):
                continue
            root = self._root(entry, is_listed=True)
            if type(system) is type(root.system):
                try:
                    root.check(path)
                except ForbiddenError:
                    continue
                return root
        raise ForbiddenError(_REFUSED)

    def check_database(self, given: str, value: str) -> None:
        """Raise ForbiddenError unless a database may be read: listed or named as it stands, or a file in an allowed folder.

        Args:
            given: Its URL as it was written, ``env:NAME`` perhaps.
            value: The URL that this stands for.
        """
        from sqlalchemy import make_url

        url, own = make_url(value), make_url(Settings.load().url)
        if _target(url) == _target(own):
            raise ForbiddenError("is the service's own database, which runs of a deployment may not read")
        if url.get_backend_name() == "sqlite":
            # Behind a ? SQLite would be told of another file.
            if url.query or not url.database:
                raise ForbiddenError(_REFUSED)
            self.root(given, url.database).check(url.database)
        elif given in self.listed or given in self.named:
            _check_server(url.host, given in self.listed)
        else:
            raise ForbiddenError(_REFUSED)

    def _root(self, address: str, is_listed: bool, *, whole: bool = True) -> Root:
        """Return what an address allows: all of it, or also the ontology beside it and what its pattern matches."""
        server = _server(address)
        system, path = url_to_fs(address)
        if server and server.partition("://")[0] not in BUCKETS:
            _check_server(urlsplit(address).hostname, is_listed)
        if not whole:
            path = _folder_of(system, path)
        if isinstance(system, LocalFileSystem):
            path = os.path.realpath(path)
            _check_folder(path)
        root = Root(self, system, path, server, is_listed)
        if not server.startswith(("http://", "https://")):
            return root
        system, _ = url_to_fs(address, get_client=root.client, skip_instance_cache=True)
        return Root(self, system, path, server, is_listed)


def _folder_of(system: AbstractFileSystem, path: str) -> str:
    """Return the folder of a file, or the one in which a pattern begins; a folder itself."""
    on_the_web = "://" in path
    parts = path.partition("?")[0].split("/") if on_the_web else path.split("/")
    wild = next((number for number, part in enumerate(parts) if any(letter in part for letter in "*?[")), None)
    if wild is not None:
        return "/".join(parts[:wild]) or "/"
    is_file = not os.path.isdir(path) if isinstance(system, LocalFileSystem) else "." in parts[-1] and parts[-2:-1] != [""]
    return posixpath.dirname("/".join(parts)) if is_file else path


def _target(url: "URL") -> tuple[object, ...]:
    """Return what tells a database from others, whatever driver and user are named."""
    is_file = url.get_backend_name() == "sqlite"
    return url.get_backend_name(), url.host, url.port, os.path.realpath(url.database or "") if is_file else url.database


def _server(address: str) -> str:
    """Return scheme and server of a URL; nothing for a local path."""
    parts = urlsplit(address) if "://" in address else None
    if parts is None or parts.scheme in ("file", "local"):
        return ""
    return f"{parts.scheme}://{parts.netloc}".lower()


def _check_folder(path: str) -> None:
    """Raise ForbiddenError for a path in a folder of the system, or in the service's home."""
    for folder in (*SYSTEM_FOLDERS, str(Settings.load().home)):
        if _is_below(path, folder) or _is_below(path, os.path.realpath(folder)):
            raise ForbiddenError("lies in a folder of the system or in KNOWLEDGE_HOME, which runs of a deployment never read")


def _check_server(host: str | None, is_listed: bool) -> None:
    """Raise ForbiddenError for a server that is this machine or on its link, by any address that its name has."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        # Whoever opens it says so.
        return
    for each in found:
        _check_address(str(each[4][0]), is_listed)


def _check_address(address: str, is_listed: bool) -> None:
    """Raise ForbiddenError for an address of this machine, or of its link, where clouds tell a machine its secrets."""
    number: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(number, ipaddress.IPv6Address) and number.ipv4_mapped:
        number = number.ipv4_mapped
    if number.is_link_local or number.is_multicast:
        raise ForbiddenError("is at an address of this machine's link, which runs of a deployment never read")
    if (number.is_loopback or number.is_unspecified) and not is_listed:
        raise ForbiddenError(f"is at an address of this machine, which runs of a deployment read only where {VARIABLE} lists it")


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")
