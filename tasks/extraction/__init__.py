"""From a text and an ontology to a graph: pure functions; each stage can be used alone. Imports no Prefect."""

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compat.contracts import Extractor, PipelineConfig
from compat.errors import ExtractorNotFoundError
from compat.settings import Settings

if TYPE_CHECKING:
    from tasks.extraction.linear import LinearExtractor
    from tasks.extraction.llm import LlmExtractor
    from tasks.extraction.ontology import parse_ontology
    from tasks.extraction.resolution import Resolution, resolve
    from tasks.extraction.rules.extractor import RulesExtractor

__all__ = [
    "Extractor",
    "LinearExtractor",
    "LlmExtractor",
    "PipelineConfig",
    "Resolution",
    "RulesExtractor",
    "load_extractor",
    "parse_ontology",
    "resolve",
]

# Imported when they are first asked for: rdflib, numpy and the stemmers take longer than most commands do.
_MODULES = {
    "LinearExtractor": "tasks.extraction.linear",
    "LlmExtractor": "tasks.extraction.llm",
    "Resolution": "tasks.extraction.resolution",
    "RulesExtractor": "tasks.extraction.rules.extractor",
    "parse_ontology": "tasks.extraction.ontology",
    "resolve": "tasks.extraction.resolution",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def load_extractor(name: str, settings: Settings | None = None) -> Extractor:
    """Return the extractor ``rules``, ``linear`` or ``llm``, or that which ``factory()`` of ``package.module:factory`` returns.

    The current folder is importable too, as it is for ``python -m``. Raises ExtractorNotFoundError if there is no such extractor;
    what the module or the factory raises itself is passed on.
    """
    if name == "rules":
        from tasks.extraction.rules.extractor import RulesExtractor

        return RulesExtractor()
    if name == "llm":
        from tasks.extraction.llm import LlmExtractor

        return LlmExtractor.from_settings(settings)
    if name == "linear":
        from tasks.extraction.linear import LinearExtractor

        return LinearExtractor.from_settings(settings)
    module_name, _, factory_name = name.partition(":")
    if not (module_name and factory_name):
        raise ExtractorNotFoundError(name, "it is neither rules nor linear nor llm nor of the form package.module:factory")
    here = str(Path.cwd())
    # An installed command has its own folder at the front of the path, not the caller's.
    if not {"", here} & set(sys.path):
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise  # the module is there; one that it imports isn't
        package = module_name.partition(".")[0]
        used = list(getattr(sys.modules.get(package), "__path__", ()))
        is_hidden = bool(used) and Path(here, package).exists() and Path(used[0]) != Path(here, package)
        hidden = f"; its {package} is hidden by knowledge-batch's own: give yours another name" if is_hidden else ""
        raise ExtractorNotFoundError(name, f"there is no module {error.name} (looked in {here} too{hidden})") from error
    factory = getattr(module, factory_name, None)
    if not callable(factory):
        raise ExtractorNotFoundError(name, f"{module_name} has no {factory_name} that can be called")
    extractor: Extractor = factory()
    if not callable(getattr(extractor, "run", None)):
        raise ExtractorNotFoundError(name, f"{factory_name}() returned {type(extractor).__name__}, which has no run method")
    return extractor
