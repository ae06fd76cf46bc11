"""The versions that evidence was gathered with. Evidence of other code, another schema or another Prefect is stale."""

import ast
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from compat.ids import content_hash
from compat.store.schema import Base

PACKAGES = ("compat", "tasks", "legacy", "flows")
# What no batch runs: the command, and what reports look like.
NOT_RUN = ("flows/command/", "compat/parity/render.py", "compat/markdown.py")


@dataclass(frozen=True)
class Versions:
    """The versions of this package and of Prefect, and hashes of the code and of the tables."""

    knowledge_batch: str
    prefect: str
    code: str
    schema: str

    def to_dict(self) -> dict[str, str]:
        """Return the versions by name."""
        return asdict(self)


@cache
def versions() -> Versions:
    """Return the versions of what is installed, without importing Prefect."""
    return Versions(_version("knowledge-batch"), _version("prefect"), _code_hash(), _schema_hash())


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def _code_hash() -> str:
    """Return a hash of the code that batches run, wherever the packages are installed."""
    parts = []
    for package in PACKAGES:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            parts += _parts(package, Path(folder))
    return content_hash("\n".join(parts))[:16]


@cache
def extractor_hash(extractor: str) -> str:
    """Return a hash of the code of an extractor from elsewhere (``package.module:factory``); of ours, nothing: it is in `code`.

    The code of its whole package, since what a factory builds may lie anywhere in it.
    """
    package = extractor.partition(":")[0].partition(".")[0] if ":" in extractor else ""
    spec = find_spec(package) if package not in ("", "__main__", *PACKAGES) else None
    if spec is None:
        return ""
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    parts = [part for folder in folders for part in _parts(package, folder)]
    if not folders and spec.origin:
        parts = [code_of(Path(spec.origin).read_bytes())]
    return content_hash("\n".join(parts))[:16]


def _parts(package: str, folder: Path) -> list[str]:
    parts = []
    for path in sorted(folder.rglob("*.py")):
        name = f"{package}/{path.relative_to(folder).as_posix()}"
        if not name.startswith(NOT_RUN):
            parts += [name, content_hash(code_of(path.read_bytes()))]
    return parts


def code_of(source: bytes) -> str:
    """Return a module's code without comments, docstrings and layout; what can't be parsed as it stands."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return source.decode("utf-8", "replace")
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and _has_docstring(node.body):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def _has_docstring(body: list[ast.stmt]) -> bool:
    first = body[0] if body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)


def _schema_hash() -> str:
    lines = [
        f"{table.name}.{column.name} {column.type!r} {column.nullable} {column.primary_key}"
        for table in Base.metadata.sorted_tables
        for column in table.columns
    ]
    return content_hash("\n".join(sorted(lines)))[:16]
