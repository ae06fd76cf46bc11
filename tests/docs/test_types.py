"""Types for users: the built wheel, installed, under ``mypy --strict`` on a user's file."""

import re
import subprocess
import sys
import venv
from pathlib import Path

import pages
import pytest

pytestmark = pytest.mark.slow

USERS_FILE = """
from compat.contracts import BatchResult, ExtractionResult, PipelineConfig
from compat.errors import BatchNotFoundError
from flows import get_status, run_batch, subscribe
from tasks.extraction import Extractor


class Mine:
    def run(self, text: str, ontology_content: str, config: PipelineConfig) -> ExtractionResult:
        return ExtractionResult(config=config)


class NotOne:
    def run(self, text: str) -> str:
        return text


extractor: Extractor = Mine()
wrong: Extractor = NotOne()
result: BatchResult = run_batch({"organizationId": "museum"}, mode="engine")
reveal_type(run_batch({}))
reveal_type(get_status("id"))
reveal_type(result.document_results[0].document_id)
for event in subscribe("id", follow=True):
    reveal_type(event)
try:
    run_batch({}, mood="engine")
except BatchNotFoundError as error:
    reveal_type(error.batch_id)
"""


def run(*arguments: str, folder: Path) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=folder)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def test_a_users_file_is_checked_against_the_installed_wheel(tmp_path: Path) -> None:
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(pages.ROOT), folder=tmp_path)
    [wheel] = tmp_path.glob("*.whl")
    # Its dependencies are those of this environment; the package itself comes from the wheel alone.
    venv.create(tmp_path / "venv", with_pip=False, system_site_packages=False)
    python = tmp_path / "venv" / "bin" / "python"
    [site] = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    run(sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", str(wheel), folder=tmp_path)
    dependencies = [path for path in sys.path if path.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(dependencies), encoding="utf-8")
    (tmp_path / "users.py").write_text(USERS_FILE, encoding="utf-8")
    printed = run(
        sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--python-executable", str(python), "users.py",
        folder=tmp_path,
    )  # fmt: skip
    revealed = re.findall(r'Revealed type is "(?:[\w.]+\.)?(\w+)"', printed)
    assert revealed == [
        "BatchResult",
        "BatchState",
        "str",
        "BatchEvent",
        "str",
    ], printed
    wrongs = re.findall(r"users\.py:\d+: error: (.+)", printed)
    assert len(wrongs) == 2, printed
    assert 'variable has type "Extractor"' in wrongs[0]
    assert 'Unexpected keyword argument "mood"' in wrongs[1]
