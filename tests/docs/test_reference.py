"""The pages hold what the code has: commands, options, settings, exit codes, names, files, and where a figure comes from."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pages
import processes
import pytest
import typer
import yaml

import flows
import flows.sources
import tasks.extraction
from compat import contracts, errors
from compat.errors import Exit
from compat.settings import PREFIX, Settings
from flows.command.cli import app

CODE = ("compat", "tasks", "legacy", "flows", "tests")
# Read by the tests alone.
OF_TESTS = {"KNOWLEDGE_TEST_POSTGRES_URL"}


def text(page: str) -> str:
    return (pages.ROOT / page).read_text(encoding="utf-8")


def test_the_generated_parts_are_the_codes() -> None:
    done = subprocess.run(
        [sys.executable, str(pages.ROOT / "docs/site/generate.py"), "--check"],
        capture_output=True,
        text=True,
        env=processes.environment(),
    )
    assert done.returncode == 0, done.stdout + done.stderr


def command_lines(page: Path) -> set[str]:
    """Every line of the command that a page shows, with what a shell would do around it taken away."""
    shown = [line for block in pages.blocks(page) if block.language in ("sh", "console") for line in block.content.splitlines()]
    shown += re.findall(r"`(knowledge-batch [^`]+)`", re.sub(r"```.*?```", "", pages.written(page), flags=re.DOTALL))
    found = set[str]()
    for line in shown:
        for part in re.split(r"[;&|>]|\bdo\b|\buntil\b", line):
            part = part.strip().removeprefix("$ ").rstrip(" 2")
            if re.match(r"knowledge-batch\s+\w", part):
                found.add(part)
    return found


def check(line: str) -> None:
    """Parse a line as the command would, without doing what it says."""
    command: click.Command = typer.main.get_command(app)  # type: ignore[assignment]
    words = shlex.split(re.sub(r"\[[^\]]*\]", "", line))[1:]
    context = click.Context(command, info_name="knowledge-batch")
    while isinstance(command, click.Group) or hasattr(command, "get_command"):
        assert words, f"{line}: a command is missing"
        name, *words = words
        following = command.get_command(context, name)  # type: ignore[union-attr]
        assert following is not None, f"{line}: there is no command {name}"
        command = following
        context = click.Context(command, info_name=name, parent=context)
    known = {option for parameter in command.params for option in parameter.opts}
    unknown = [word for word in words if word.startswith("--") and word not in known | {"--help"}]
    assert not unknown, f"{line}: no such option: {unknown}"
    if not words:
        # Prose that names the command.
        return
    numbers = {"N": "1", "K": "2"}
    command.make_context("knowledge-batch", [numbers.get(word, word) for word in words], parent=context.parent)


@pytest.mark.parametrize("page", [page for page in pages.PAGES if command_lines(page)], ids=pages.name)
def test_every_line_of_the_command_is_one_that_it_accepts(page: Path) -> None:
    for line in command_lines(page):
        check(line)


def test_every_exit_code_is_documented() -> None:
    documented = re.findall(r"^\| (\d) \|", text("docs/reference/errors.md"), flags=re.MULTILINE)
    assert documented == [str(int(code)) for code in Exit]


def test_every_public_name_is_documented() -> None:
    shown = set(re.findall(r"^::: ([\w.]+)$", text("docs/reference/python.md"), flags=re.MULTILINE))
    whole = re.search(r"::: tasks\.extraction\n.*?members: \[(.*?)\]", text("docs/reference/python.md"), flags=re.DOTALL)
    assert whole is not None
    shown |= {f"tasks.extraction.{name}" for name in whole[1].split(", ")}
    for module in (flows, flows.sources, tasks.extraction):
        names = {f"{module.__name__}.{name}" for name in module.__all__}
        # What is defined in a module that is shown whole is there already.
        elsewhere = {name for name in module.__all__ if hasattr(contracts, name) or hasattr(errors, name)}
        assert names - shown - {f"{module.__name__}.{name}" for name in elsewhere} == set()


def test_every_variable_that_is_named_exists() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | OF_TESTS
    named = {name for page in pages.PAGES for name in re.findall(r"KNOWLEDGE_[A-Z_]+[A-Z]", page.read_text(encoding="utf-8"))}
    assert named - known == set()
    assert known - named == set()


def test_every_deployment_is_documented() -> None:
    page = text("docs/guides/production.md")
    entries = yaml.safe_load(text("prefect.yaml"))["deployments"]
    for entry in entries:
        flow = entry["entrypoint"].rpartition(".")[2].replace("_", "-").removesuffix("-batches")
        assert f"`{flow}/{entry['name']}`" in page


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_every_link_and_every_file_that_is_named_is_there(page: Path) -> None:
    content = pages.written(page)
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", content)
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []
    folders = "|".join((*CODE, "docs", "deployments"))
    files = re.findall(rf"\b((?:{folders})/[\w./]*\w)", content)
    assert [file for file in files if not (pages.ROOT / file).exists()] == []


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_every_figure_has_the_command_that_measures_it(page: Path) -> None:
    for section in re.split(r"^#+ ", pages.written(page), flags=re.MULTILINE):
        prose = re.sub(r"```.*?```", "", section, flags=re.DOTALL)
        if re.search(r"\d (?:[KMG]iB|ms|%)", prose):
            assert re.search(r"`(?:python -m tests\.benchmarks [\w-]+|pytest |knowledge-batch evaluate)", prose), (
                section.partition("\n")[0]
            )


def test_every_section_of_the_contract_that_the_code_cites_is_there() -> None:
    sections = set(re.findall(r"^## (\d+)\. ", text("docs/contract.md"), flags=re.MULTILINE))
    assert len(sections) == 11
    for folder in CODE:
        for file in (pages.ROOT / folder).rglob("*.py"):
            for cited in re.findall(r"CONTRACT (\d+(?:(?:, | and )\d+)*)", file.read_text(encoding="utf-8")):
                assert set(re.findall(r"\d+", cited)) <= sections, file
