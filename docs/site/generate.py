"""Write the generated parts of the reference: python docs/site/generate.py. With --check, only say which are stale."""

import importlib
import pkgutil
import re
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import typer
from pydantic import BaseModel
from typer.cli import get_docs_for_click

from compat import errors
from compat.contracts import BatchEvent, BatchState
from compat.cutover.triggers import TRIGGERS
from compat.settings import PREFIX, Settings
from compat.status import STATUS_OF
from flows.command.cli import app
from flows.graph import export, tables

DOCS = Path(__file__).parents[1]
# The benchmarks are no part of the package.
sys.path.insert(0, str(DOCS.parent))
from tests.benchmarks import report  # noqa: E402
from tests.benchmarks.cases import PARTS as BENCHMARKS  # noqa: E402

PACKAGES = ("compat", "tasks", "legacy", "flows")
PART = re.compile(r"(<!-- generated: (.+?) -->\n).*?(<!-- end of generated -->)", re.DOTALL)


def table(*rows: tuple[str, ...]) -> str:
    """Return a Markdown table whose first row is its heading."""
    heading, *others = [" | ".join(cell.replace("|", r"\|") for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in (heading, " | ".join("---" for _ in rows[0]), *others)) + "\n"


def commands() -> str:
    """Return every command with its arguments and options, as Typer documents them."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="knowledge-batch", title="knowledge-batch")
    # The page has its title; a subcommand is a heading under its command's.
    return re.sub(r"^#", "##", text.partition("\n")[2], flags=re.MULTILINE).strip() + "\n"


def settings() -> str:
    """Return every setting with its default and meaning."""

    def default(value: object) -> str:
        return "" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"

    rows = [
        (f"`{PREFIX}{name.upper()}`", default(field.default), field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    return table(("variable", "default", "meaning"), *rows)


def members(union: type[BaseModel]) -> str:
    """Return the members of a tagged union with the fields that each adds."""
    shared = union.model_fields.keys()
    rows = [
        (f"`{kind.__name__}`", ", ".join(f"`{field.alias}`" for name, field in kind.model_fields.items() if name not in shared))
        for kind in union.__subclasses__()
    ]
    return table(("name", "fields"), *rows)


def prefect_states() -> str:
    """Return how states of Prefect become statuses of rows."""
    rows = [(f"`{kind}`", f"`{name}`" if name else "any other", f"`{status}`") for (kind, name), status in STATUS_OF.items()]
    return table(("type", "name", "status"), *rows)


def raised() -> str:
    """Return every error that is raised on purpose."""

    def below(kind: type[errors.KnowledgeBatchError]) -> list[type[errors.KnowledgeBatchError]]:
        children = sorted(kind.__subclasses__(), key=lambda child: child.__name__)
        return [kind, *(each for child in children for each in below(child))]

    # An error is known once its module is imported.
    for package in PACKAGES:
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            # Alembic runs those itself.
            if ".migrations." not in module.name:
                importlib.import_module(module.name)

    rows = [
        (
            f"`{kind.__name__}`",
            ", ".join(f"`{field}`" for field in kind.fields),
            "yes" if kind.terminal else "no",
            str(int(kind.exit_code)),
            (kind.__doc__ or "").partition("\n")[0].replace("``", "`"),
        )
        for kind in below(errors.KnowledgeBatchError)
    ]
    return table(("error", "fields", "terminal", "exit code", "meaning"), *rows)


def triggers() -> str:
    """Return what demotes the engine by itself."""
    rows = [
        (
            f"`{each.name}`" + (f" ({each.risk})" if each.risk else ""),
            (each.check.__doc__ or "").partition("\n")[0],
            f"{each.hits} of the last {each.of}",
            "handed over" if each.hand_over else "drained",
        )
        for each in TRIGGERS
    ]
    return table(("trigger", "check of a batch that the engine served", "batches", "in work"), *rows)


PARTS: Mapping[str, Callable[[], str]] = {
    "commands": commands,
    "settings": settings,
    "triggers": triggers,
    "events": lambda: members(BatchEvent),
    "states": lambda: members(BatchState),
    "prefect states": prefect_states,
    "errors": raised,
    "export formats": lambda: table(
        ("ending", "what is written"), *((f"`{ending}`", name) for ending, name in export.FORMATS.items())
    ),
    "table columns": lambda: "".join(
        f"- {title}: " + ", ".join(f"`{name}`" for name, _ in columns) + "\n"
        for title, columns in (("statements", tables.STATEMENTS), ("nodes", tables.NODES), ("edges", tables.EDGES))
    ),
    **{f"benchmarks {name}": partial(report.part_table, name) for name in BENCHMARKS},
    "benchmarks start": report.start_table,
}


def filled(page: str) -> str:
    """Return a page with its generated parts as the code has them now."""
    return PART.sub(lambda part: f"{part[1]}\n{PARTS[part[2]]()}\n{part[3]}", page)


def main(check: bool) -> int:
    """Write what is stale, or with ``check`` only name it; return 1 if there was something to name."""
    stale = 0
    contents = {path: filled(path.read_text(encoding="utf-8")) for path in sorted(DOCS.rglob("*.md"))}
    for path, new in {**contents, **report.plots()}.items():
        if path.exists() and path.read_text(encoding="utf-8") == new:
            continue
        stale += 1
        if not check:
            path.write_text(new, encoding="utf-8")
        said = "is stale; run: python docs/site/generate.py" if check else "written"
        sys.stdout.write(f"{path.relative_to(DOCS)}: {said}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main("--check" in sys.argv[1:]))
