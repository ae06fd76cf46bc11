"""The retry audit (R2): every attempt at a document has one owner. Read from the code, from Prefect's settings, from the rows."""

import ast
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from compat.errors import InvalidInputError, Problem
from compat.policy import retry_policy
from compat.store import Store

PACKAGES = ("compat", "tasks", "legacy", "flows", "deployments")

RETRY_LIBRARIES = (
    "aiohttp_retry", "backoff", "google.api_core.retry", "httpx_retries", "opnieuw", "pydantic_ai.retries", "redo",
    "retry", "retry_requests", "retryhttp", "retrying", "stamina", "tenacity", "urllib3.Retry", "urllib3.util.Retry",
    "urllib3.util.retry",
)  # fmt: skip

_PREFECT = {
    **dict.fromkeys(("prefect.task", "prefect.tasks.task", "prefect.main.task", "prefect.Task", "prefect.tasks.Task"), "task"),
    **dict.fromkeys(("prefect.flow", "prefect.flows.flow", "prefect.main.flow", "prefect.Flow", "prefect.flows.Flow"), "flow"),
}

# Makers of clients that retry unless they are told not to: what they must be given, and whether that must be 0.
_CLIENTS: Mapping[str, tuple[str, bool]] = {
    **{
        f"{package}.{prefix}{name}": ("max_retries", True)
        for package, names in {
            "openai": ("OpenAI", "AzureOpenAI"),
            "anthropic": ("Anthropic", "AnthropicBedrock", "AnthropicVertex"),
            "groq": ("Groq",),
        }.items()
        for name in names
        for prefix in ("", "Async")
    },
    **{
        f"langchain_{name}": ("max_retries", True)
        for name in ("openai.ChatOpenAI", "openai.AzureChatOpenAI", "anthropic.ChatAnthropic", "groq.ChatGroq")
    },
    # What an agent asks again when an answer doesn't validate is another attempt as well.
    "pydantic_ai.Agent": ("retries", True),
    "pydantic_ai.providers.openai.OpenAIProvider": ("openai_client", False),
    "pydantic_ai.providers.anthropic.AnthropicProvider": ("anthropic_client", False),
    "pydantic_ai.providers.groq.GroqProvider": ("groq_client", False),
    "urllib3.PoolManager": ("retries", True),
}
_RETRY_ARGUMENTS = {"max_retries", "retries", "num_retries", "output_retries", "retry_config", "retry_policy", "retry_strategy"}


@dataclass(frozen=True)
class Finding:
    """A second owner of retries, or a trace of one: where (file and line, variable, or document), what, and what to do."""

    where: str
    what: str
    advice: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.advice}"


@dataclass
class OwnerLedger:
    """What one retry owner's documents cost. ``attempts`` were made at the extractor's door, the retried ones included."""

    owner: str
    batches: int = 0
    documents: int = 0
    attempts: int = 0
    over_budget: int = 0


@dataclass(frozen=True)
class RetryAudit:
    """What the audit found, and what it looked at."""

    files: int
    ledger: tuple[OwnerLedger, ...]
    findings: tuple[Finding, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def audit(store: Store, extractor: str, batch_id: str | None = None) -> RetryAudit:
    """Audits the code that is installed, Prefect's settings, and a batch or every batch of the store.

    Args:
        store: Where the batches are.
        extractor: ``KNOWLEDGE_EXTRACTOR``; the code of a ``package.module:factory`` is read as well.
        batch_id: One batch only. Raises BatchNotFoundError.
    """
    files = [*_package_files(PACKAGES), *_extractor_files(extractor)]
    findings = [finding for path in files for finding in audit_source(path.read_text(encoding="utf-8"), str(path))]
    ledger, drifted = audit_ledger(store, batch_id)
    return RetryAudit(len(files), tuple(ledger), (*findings, *audit_settings(), *drifted))


# --- The code -----------------------------------------------------------------------------------------------------------


def _package_files(packages: Iterable[str]) -> Iterator[Path]:
    for package in packages:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            yield from sorted(Path(folder).rglob("*.py"))


def _extractor_files(extractor: str) -> Iterator[Path]:
    module, named, _ = extractor.partition(":")
    root = module.partition(".")[0]
    if not named or root in PACKAGES:
        return
    spec = find_spec(root)
    if spec is None:
        raise InvalidInputError([Problem("KNOWLEDGE_EXTRACTOR", extractor, f"there is no module {root!r}; install it")])
    if spec.submodule_search_locations:
        yield from _package_files([root])
    elif spec.origin:
        yield Path(spec.origin)


def audit_source(source: str, path: str) -> list[Finding]:
    """Second owners of retries in one file, in the order of its lines."""
    tree = ast.parse(source, path)
    origins = dict(_imported_names(tree))
    found = [*_retry_imports(tree), *_prefect_objects(tree, origins), *_clients(tree, origins)]
    return [Finding(f"{path}:{line}", what, advice) for line, what, advice in sorted(found)]


_Said = tuple[int, str, str]


def _imported_names(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Local names with what they stand for: ``from prefect import task as t`` is t, prefect.task."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.asname, alias.name) if alias.asname else (alias.name.partition(".")[0],) * 2
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _origin(node: ast.expr, origins: Mapping[str, str]) -> str | None:
    """The dotted name that an expression stands for, None where it isn't an imported one."""
    if isinstance(node, ast.Name):
        return origins.get(node.id)
    if isinstance(node, ast.Attribute):
        above = _origin(node.value, origins)
        return above and f"{above}.{node.attr}"
    return None


def _retry_imports(tree: ast.AST) -> Iterator[_Said]:
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            names = [str(node.args[0].value)] if called in ("import_module", "__import__") else []
        for name in names:
            if any(name == library or name.startswith(library + ".") for library in RETRY_LIBRARIES):
                yield _line(node), f"{name} retries beside the owner", "leave retries to the policy's owner"


def _prefect_objects(tree: ast.AST, origins: Mapping[str, str]) -> Iterator[_Said]:
    flows_here = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for decorator in node.decorator_list
        if _PREFECT.get(_origin(getattr(decorator, "func", decorator), origins) or "") == "flow"
    }
    calls = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for bare in node.decorator_list:
                kind = _PREFECT.get(_origin(bare, origins) or "")
                if kind and id(bare) not in calls:
                    yield _line(bare), f"{kind} {node.name} has no retries=", _OWN_DEFAULT[kind]
        if not isinstance(node, ast.Call):
            continue
        kind = _PREFECT.get(_origin(node.func, origins) or "")
        given = _argument(node, "retries")
        if kind and given is None:
            yield _line(node), f"a {kind} has no retries=", _OWN_DEFAULT[kind]
        elif kind == "flow" and given is not None and not _is_zero(given):
            yield _line(node), f"a flow has retries={ast.unparse(given)}", "a flow's retries multiply its tasks'; write retries=0"
        elif (
            isinstance(node.func, ast.Attribute)
            and node.func.attr == "with_options"
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id in flows_here
            and given is not None
            and not _is_zero(given)
        ):
            what = f"flow {node.func.value.id} gets retries={ast.unparse(given)}"
            yield _line(node), what, "a flow's retries multiply its tasks'; write retries=0"


_OWN_DEFAULT = {
    "task": "PREFECT_TASKS_DEFAULT_RETRIES would decide; write retries= out",
    "flow": "PREFECT_FLOWS_DEFAULT_RETRIES would decide; write retries=0",
}


def _clients(tree: ast.AST, origins: Mapping[str, str]) -> Iterator[_Said]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = _origin(node.func, origins)
        root = (name or "").partition(".")[0]
        if root in (*PACKAGES, "prefect") or root in sys.stdlib_module_names:
            continue
        wanted, must_be_zero = _CLIENTS.get(name or "", ("", True))
        if wanted and _argument(node, wanted) is None:
            value = "0" if must_be_zero else "a client whose max_retries is 0"
            yield _line(node), f"{name} retries by itself", f"give it {wanted}={value}"
        if name == "pydantic_ai.Agent" and node.args and isinstance(node.args[0], ast.Constant):
            advice = "give a model whose provider has a client with max_retries=0"
            yield _line(node), f"the client behind the model {node.args[0].value!r} retries by itself", advice
        for keyword in node.keywords:
            literal = isinstance(keyword.value, ast.Constant)
            # A method of an unknown object may have a parameter of that name; a number says what is meant.
            if keyword.arg in _RETRY_ARGUMENTS and not _is_zero(keyword.value) and (name or (literal and _is_method(node))):
                what = f"{ast.unparse(node.func)} gets {keyword.arg}={ast.unparse(keyword.value)}"
                yield _line(node), what, "a client that retries is a second owner; write 0"


def _argument(call: ast.Call, name: str) -> ast.expr | None:
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def _is_method(call: ast.Call) -> bool:
    # with_options(retries=) is Prefect's, and looked at above.
    return isinstance(call.func, ast.Attribute) and not (call.func.attr == "with_options" and _argument(call, "retries"))


def _is_zero(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value in (0, False)


def _line(node: ast.AST) -> int:
    return int(getattr(node, "lineno", 0))


# --- The settings -------------------------------------------------------------------------------------------------------


def audit_settings() -> list[Finding]:
    """Prefect's default retries, from the environment, a profile or a file, which what has no retries= of its own would get."""
    from prefect.settings import PREFECT_FLOWS_DEFAULT_RETRIES, PREFECT_TASKS_DEFAULT_RETRIES

    return [
        Finding(setting.name, f"is {setting.value()}", "a task or flow without retries= gets it as a second owner; set it to 0")
        for setting in (PREFECT_TASKS_DEFAULT_RETRIES, PREFECT_FLOWS_DEFAULT_RETRIES)
        if setting.value()
    ]


# --- The rows -----------------------------------------------------------------------------------------------------------


def audit_ledger(store: Store, batch_id: str | None = None) -> tuple[list[OwnerLedger], list[Finding]]:
    """The attempts on record against the policies' budgets, owner by owner, and the documents that don't add up.

    Raises BatchNotFoundError.
    """
    owners: dict[str, OwnerLedger] = {}
    findings: list[Finding] = []
    batches: defaultdict[str, set[str]] = defaultdict(set)
    for document in store.attempts(batch_id):
        policy = retry_policy(document.config)
        ledger = owners.setdefault(policy.owner, OwnerLedger(policy.owner))
        batches[policy.owner].add(document.batch_id)
        ledger.documents += 1
        ledger.attempts += len(document.attempts)
        where = f"batch {document.batch_id}, document {document.document_id}"
        look = f"look at its rows: knowledge_workflow_activity of execution {document.execution_id}"
        if document.owner not in (None, policy.owner):
            findings.append(Finding(where, f"its row names the owner {document.owner}, its policy {policy.owner}", look))
        generations = document.by_generation()
        finished = sum(attempt.status in ("completed", "failed") for attempt in generations.get(document.generation, ()))
        if document.outcome and finished != document.counted:
            findings.append(Finding(where, f"its outcome counts {document.counted} attempts, {finished} are on record", look))
        for made in generations.values():
            again = [number for number, times in Counter(attempt.number for attempt in made).items() if times > 1]
            if again:
                findings.append(Finding(where, f"attempt {again[0]} is on record more than once", look))
            if len(made) > policy.attempts:
                ledger.over_budget += 1
                findings.append(Finding(where, f"{len(made)} attempts, its budget is {policy.attempts}", look))
            succeeded = [attempt.number for attempt in made if attempt.status == "completed"]
            if succeeded and max(attempt.number for attempt in made) > succeeded[0]:
                findings.append(Finding(where, f"was tried again after attempt {succeeded[0]} had succeeded", look))
    for owner, ledger in owners.items():
        ledger.batches = len(batches[owner])
    return list(owners.values()), findings
