"""The proxy that the security page tells to put in front of Prefect: what readers and operators may do through it."""

import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pages
import processes
import pytest
import stacks

pytestmark = pytest.mark.slow

PASSWORD = "a password of the test's own"  # noqa: S105 -- nobody else's
READER, OPERATOR = ("ada", PASSWORD), ("operator", PASSWORD)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stacks.Stack]:
    with stacks.up(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture(scope="module")
def proxy(stack: stacks.Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page's configuration, without its certificate and with the test's ports and people."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
    if nginx is None or shutil.which("openssl") is None:
        pytest.skip("no nginx here: install Debian's nginx-light, and openssl")
    folder, port = tmp_path_factory.mktemp("proxy"), stacks.free_port()
    [block] = [each for each in pages.blocks(pages.ROOT / "docs/guides/security.md") if each.language == "nginx"]
    site = re.sub(r"    ssl_certificate.*\n", "", block.content)
    for said, ours in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port}"),
        ("/etc/nginx/people", str(folder / "people")),
        ("127.0.0.1:4200", f"127.0.0.1:{stack.port}"),
    ):
        assert said in site
        site = site.replace(said, ours)
    hashed = subprocess.run(["openssl", "passwd", "-apr1", PASSWORD], capture_output=True, text=True, check=True).stdout.strip()
    (folder / "people").write_text(f"{READER[0]}:{hashed}\n{OPERATOR[0]}:{hashed}\n", encoding="utf-8")
    # Where nginx is started as root, its processes are others'.
    temporary = Path(tempfile.gettempdir()).resolve()
    for each in (folder, *folder.parents):
        if temporary in each.resolve().parents:
            each.chmod(0o755)
    whole = f"daemon off; pid {folder}/pid; events {{}} http {{ access_log off; {site} }}"
    (folder / "nginx.conf").write_text(whole, encoding="utf-8")
    process = subprocess.Popen([nginx, "-c", str(folder / "nginx.conf"), "-e", str(folder / "errors")])
    try:
        processes.wait_until(lambda: listens(port), 30)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_nobody_comes_through_without_a_password(proxy: str) -> None:
    for path in ("/", "/api/health", "/api/flow_runs/filter"):
        assert httpx.get(proxy + path).status_code == httpx.codes.UNAUTHORIZED
    assert httpx.get(f"{proxy}/api/health", auth=("ada", "another")).status_code == httpx.codes.UNAUTHORIZED
    # Not even under an operator's name.
    assert httpx.delete(f"{proxy}/api/flows/x", auth=("operator", "another")).status_code == httpx.codes.UNAUTHORIZED


def test_the_page_calls_the_address_that_it_was_loaded_from(proxy: str) -> None:
    assert httpx.get(f"{proxy}/ui-settings", auth=READER).json()["api_url"] == "/api"


def test_a_reader_starts_runs_by_the_form_and_changes_nothing_else(proxy: str, stack: stacks.Stack) -> None:
    deployment = stack.deployment("run-batch/on-demand")
    [block_type, *_] = stack.ask("/block_types/filter", {})
    with httpx.Client(base_url=f"{proxy}/api", auth=READER, timeout=60) as reader:
        started = reader.post(f"/deployments/{deployment}/create_flow_run", json={"parameters": {"batch_id": "by a reader"}})
        assert started.status_code == httpx.codes.CREATED
        assert reader.post("/flow_runs/filter", json={}).status_code == httpx.codes.OK
        assert reader.get(f"/deployments/{deployment}").status_code == httpx.codes.OK
        refused = [
            reader.patch(f"/deployments/{deployment}", json={"entrypoint": "os.system"}),
            reader.post("/deployments/", json={}),
            reader.delete(f"/deployments/{deployment}"),
            reader.post(f"/deployments/{deployment}/schedules", json=[]),
            reader.patch("/work_pools/knowledge-batch", json={"base_job_template": {}}),
            reader.post("/admin/database/clear", json={"confirm": True}),
            reader.post("/block_documents/filter", json={"include_secrets": True}),
            reader.get(f"/block_types/slug/{block_type['slug']}/block_documents?include_secrets=true"),
            reader.post("/automations/", json={}),
            reader.post("/flow_runs/bulk_delete", json={}),
        ]
        assert {answer.status_code for answer in refused} == {httpx.codes.FORBIDDEN}
        job = {"job_variables": {"command": "id", "env": {"KNOWLEDGE_SOURCES_ALLOW": "/"}}}
        taken_over = reader.post(f"/deployments/{deployment}/create_flow_run", json=job)
        assert taken_over.status_code == httpx.codes.UNPROCESSABLE_ENTITY
        foreign = reader.post(f"/deployments/{deployment}/create_flow_run", json={"parameters": {"source": "/etc/passwd"}})
    run = stack.wait_for(foreign.json()["id"], "Failed")
    assert "lies in a folder of the system" in run["state"]["message"]
    with httpx.Client(base_url=f"{proxy}/api", auth=OPERATOR, timeout=60) as operator:
        assert operator.patch(f"/deployments/{deployment}", json={"paused": False}).is_success


def test_a_readers_path_that_means_another_one_comes_to_nothing(proxy: str, stack: stacks.Stack) -> None:
    before = stack.ask("/deployments/count", {})
    for path in (
        "/api/deployments/x/../../deployments/",
        "/api/deployments/%2e%2e/deployments/",
        "/api/admin/database/clear/../filter",
    ):
        request = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\nContent-Type: application/json\r\n"
        )
        token = httpx.BasicAuth(*READER)._auth_header
        with socket.create_connection(("127.0.0.1", int(proxy.rpartition(":")[2]))) as client:
            client.sendall(f"{request}Authorization: {token}\r\n\r\n{{}}".encode())
            status = client.makefile("rb").readline().split()[1]
        assert status in (b"403", b"404", b"405", b"422"), path
    assert stack.ask("/deployments/count", {}) == before
