"""The versions that evidence was gathered with. Evidence of other code, another schema or another Prefect is stale."""

from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from compat.ids import content_hash
from compat.store.schema import Base

PACKAGES = ("compat", "tasks", "legacy", "flows")


@dataclass(frozen=True)
class Versions:
    """The versions of this package and of Prefect, and hashes of the code and of the tables."""

    knowledge_batch: str
    prefect: str
    code: str
    schema: str

    def to_dict(self) -> dict[str, str]:
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
    """Return the hash of every module's text, wherever the packages are installed."""
    parts = []
    for package in PACKAGES:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for path in sorted(Path(folder).rglob("*.py")):
                parts += [f"{package}/{path.relative_to(folder).as_posix()}", content_hash(path.read_text(encoding="utf-8"))]
    return content_hash("\n".join(parts))[:16]


def _schema_hash() -> str:
    lines = [
        f"{table.name}.{column.name} {column.type!r} {column.nullable} {column.primary_key}"
        for table in Base.metadata.sorted_tables
        for column in table.columns
    ]
    return content_hash("\n".join(sorted(lines)))[:16]
