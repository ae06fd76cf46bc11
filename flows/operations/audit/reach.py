"""Which files the audit reads: our packages, and an extractor's with what it imports from its own distribution."""

import ast
import sys
import tokenize
from collections.abc import Iterable, Iterator
from functools import cached_property
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

from compat.errors import InvalidInputError, Problem
from flows.operations.audit.source import PACKAGES, named_imports
from flows.operations.audit.values import Names


def package_files(packages: Iterable[str]) -> Iterator[Path]:
    """Yield every Python file of packages."""
    for package in packages:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            yield from sorted(Path(folder).rglob("*.py"))


def extractor_files(extractor: str) -> list[Path]:
    """Return the files of ``package.module:factory``: its package, and what that imports, and so on, within its distribution.

    None for an extractor of ours, whose code is read anyway. Raises InvalidInputError where the package isn't there.
    """
    module, named, _ = extractor.partition(":")
    root = module.partition(".")[0]
    if not named or root in PACKAGES:
        return []
    spec = find_spec(root)
    if spec is None:
        raise InvalidInputError([Problem("KNOWLEDGE_EXTRACTOR", extractor, f"there is no module {root!r}; install it")])
    # The package is read whole: which of its modules it loads at run time, no reading tells.
    whole = [*package_files([root])] or ([Path(spec.origin)] if spec.has_location and spec.origin else [])
    distribution = _Distribution(root)
    found = set(whole)
    pending = list(whole)
    while pending:
        new = set(distribution.imported_by(pending.pop())) - found
        found |= new
        pending += new
    return [*whole, *sorted(found - set(whole))]


class _Distribution:
    """What was installed together with a package; where nothing was, what lies beside it."""

    def __init__(self, root: str) -> None:
        self.root = root

    @cached_property
    def _distributions(self) -> dict[str, set[str]]:
        return {package: set(names) for package, names in packages_distributions().items()}

    @cached_property
    def _folders(self) -> set[Path]:
        return set(_folders_above(self.root))

    def imported_by(self, path: Path) -> Iterator[Path]:
        """Yield the files of this distribution that a file imports, those of the packages around them included."""
        with tokenize.open(path) as file:
            source = file.read()
        try:
            names = Names(ast.parse(source))
        except SyntaxError:
            return  # Which the audit of that file says.
        for node in names.nodes:
            if isinstance(node, ast.ImportFrom) and node.level:
                above = path.parents[node.level - 1]
                for alias in node.names:
                    yield from _files(above, [*(node.module or "").split("."), alias.name])
                continue
            for name in named_imports(node, names):
                package = name.partition(".")[0]
                for above in _folders_above(package) if self._has(package) else ():
                    yield from _files(above, name.split("."))

    def _has(self, package: str) -> bool:
        if not package or package in PACKAGES or package in sys.stdlib_module_names:
            return False
        ours, theirs = self._distributions.get(self.root, set()), self._distributions.get(package, set())
        if ours or theirs:
            return bool(ours & theirs)
        return not self._folders.isdisjoint(_folders_above(package))


def _folders_above(package: str) -> list[Path]:
    """Return the folders that a top-level module lies in."""
    spec = find_spec(package)
    if spec is None:
        return []
    if spec.submodule_search_locations:
        return [Path(folder).parent for folder in spec.submodule_search_locations]
    return [Path(spec.origin).parent] if spec.has_location and spec.origin else []


def _files(above: Path, parts: list[str]) -> Iterator[Path]:
    """Yield the files of a dotted name under a folder: each package on the way, and the module."""
    for part in filter(None, parts):
        yield from (file for file in (above / f"{part}.py", above / part / "__init__.py") if file.is_file())
        above /= part
