"""Proxies of the environment: this machine is never asked through one, and an error of another one names it."""

import os

import pytest

from compat.errors import PrefectUnavailableError
from compat.proxies import keep_loopback_direct, proxy_of

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in NAMES:
        # Set first, so that what the code sets is taken back as well.
        for each in (name, name.upper()):
            monkeypatch.setenv(each, "")
            monkeypatch.delenv(each)
    return monkeypatch


def test_without_a_proxy_nothing_is_set() -> None:
    keep_loopback_direct()
    assert "NO_PROXY" not in os.environ
    assert "no_proxy" not in os.environ


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "ALL_PROXY"])
def test_with_a_proxy_this_machine_is_asked_directly_and_what_was_excepted_stays(
    name: str, no_proxies: pytest.MonkeyPatch
) -> None:
    no_proxies.setenv(name, "http://proxy.example:3128")
    no_proxies.setenv("NO_PROXY", "intern.example, localhost")
    keep_loopback_direct()
    keep_loopback_direct()
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == "intern.example,localhost,127.0.0.1,::1"
    assert proxy_of("http://127.0.0.1:4200/api") is None


def test_an_error_of_another_server_names_the_proxy_without_its_password(no_proxies: pytest.MonkeyPatch) -> None:
    no_proxies.setenv("HTTP_PROXY", "http://me:secret@proxy.example:3128")
    error = str(PrefectUnavailableError("http://prefect.example/api", "ConnectError: refused"))
    assert "asked through the proxy proxy.example:3128," in error
    assert "secret" not in error
    no_proxies.setenv("NO_PROXY", "prefect.example")
    assert "proxy" not in str(PrefectUnavailableError("http://prefect.example/api", "ConnectError: refused"))
