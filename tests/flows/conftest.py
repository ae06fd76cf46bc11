"""The command ``knowledge-batch`` in the test's own process."""

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.command import cli

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(environment: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs knowledge-batch in a folder of its own, in this process: a second and more sooner than in another."""

    def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path)
            patch.setattr(sys, "argv", ["knowledge-batch", *arguments])
            for name, value in variables.items():
                patch.setenv(name, value)
            # The command sets these for its process, which is ours here.
            patch.setenv("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
            patch.setenv("PREFECT_CLI_PROMPT", "false")
            log = logging.getLogger("knowledge_batch")
            patch.setattr(log, "handlers", log.handlers)
            patch.setattr(log, "propagate", log.propagate)
            level = log.level
            capsys.readouterr()
            # As a process has it.
            sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
            with pytest.raises(SystemExit) as ended:
                cli.main()
            log.setLevel(level)
        said = capsys.readouterr()
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return subprocess.CompletedProcess(arguments, code or 0, said.out, said.err)

    return run
