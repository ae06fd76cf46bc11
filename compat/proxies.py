"""Proxies of the environment: never for this machine itself, and named where something behind one fails."""

import os
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def keep_loopback_direct() -> None:
    """Add this machine to ``NO_PROXY`` of this process and its children, if a proxy is set.

    Without it Prefect's client and its events go through the proxy even to a server on 127.0.0.1, and wait there for a minute.
    """
    if not any(name != "no" for name in getproxies_environment()):
        return
    given = [os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY")]
    hosts = dict.fromkeys(host.strip() for value in given for host in value.split(",") if host.strip())
    # Libraries differ in which of the two they read first.
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(dict.fromkeys([*hosts, *LOOPBACK]))


def proxy_of(url: str) -> str | None:
    """Return the proxy that a URL is asked through, without its password; None where there is none."""
    parts = urlsplit(url)
    if not parts.hostname or proxy_bypass(parts.hostname):
        return None
    proxies = getproxies_environment()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy is None:
        return None
    return proxy.rpartition("@")[2] if "@" in proxy else proxy
