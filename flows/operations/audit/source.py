"""Second owners of retries in one file's source, found by reading it."""

import ast
import sys
from collections.abc import Iterator

from flows.operations.audit.rules import (
    ARGUMENTS,
    ATTRIBUTE,
    ATTRIBUTES,
    CLIENTS,
    DASK_CLUSTERS,
    DASK_DEFAULT,
    DASK_SETTINGS,
    FLOW_RETRIES,
    IMPORTERS,
    IMPORTS,
    METHODS,
    MODEL_BY_NAME,
    MODELS_BY_NAME,
    NO_MODEL,
    NO_RETRIES_OF_ITS_OWN,
    PREFECT,
    RAY_DEFAULT,
    RETRIES_FROM_OUTSIDE,
    SETTINGS,
    URLLIB3_RETRY,
    Finding,
    Off,
    Rule,
)
from flows.operations.audit.values import Call, Names

PACKAGES = ("compat", "tasks", "legacy", "flows", "deployments")

# line, what, what to do
_Found = tuple[int, str, str]


def audit_source(source: str, path: str) -> list[Finding]:
    """Return the second owners of retries in one file, in the order of its lines."""
    try:
        tree = ast.parse(source, path)
    except SyntaxError as error:
        return [Finding(f"{path}:{error.lineno or 0}", f"can't be read: {error.msg}", "make it Python that parses")]
    names = Names(tree)
    found = {*_imports(names), *_prefect(names), *_settings(names), *_clusters(names), *_assignments(names), *_calls(names)}
    return [Finding(f"{path}:{line}", what, advice) for line, what, advice in sorted(found)]


def _library(name: str) -> tuple[str, Rule] | None:
    """Return the longest entry of IMPORTS that a dotted name is, or lies in."""
    while name:
        if name in IMPORTS:
            return name, IMPORTS[name]
        name = name.rpartition(".")[0]
    return None


def _imports(names: Names) -> Iterator[_Found]:
    called = {id(node.func): node for node in names.nodes if isinstance(node, ast.Call)}
    imported = set()
    for node in names.nodes:
        for name in named_imports(node, names):
            library = _library(name)
            # What is imported, and only ever made as Retry(0), retries nothing.
            if library and not (name in URLLIB3_RETRY and _only_idle(node, name, names, called)):
                imported.add(library[0])
                yield _line(node), f"{name} {library[1].reason}", library[1].advice
    for node in names.nodes:
        if isinstance(node, ast.Attribute):
            library = _library(names.origin(node) or "")
            call = called.get(id(node))
            if library and library[0] not in imported and not (call and names.is_idle_retry(call)):
                yield _line(node), f"{library[0]} {library[1].reason}", library[1].advice


def named_imports(node: ast.AST, names: Names) -> list[str]:
    """Return the modules and names that a line imports from elsewhere than its own package, by whatever way."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call):
        attribute = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        module = names.call(node).argument("name", 0)
        if (attribute == "import_module" or names.origin(node.func) in IMPORTERS) and module is not None:
            return [names.text(module) or ""]
    return []


def _only_idle(node: ast.AST, name: str, names: Names, called: dict[int, ast.Call]) -> bool:
    uses = [use for use in names.nodes if isinstance(use, ast.Name | ast.Attribute) and names.origin(use) == name]
    calls = [called[id(use)] for use in uses if id(use) in called]
    return isinstance(node, ast.ImportFrom) and 0 < len(uses) == len(calls) and all(map(names.is_idle_retry, calls))


def _prefect(names: Names) -> Iterator[_Found]:
    called = {id(node.func) for node in names.nodes if isinstance(node, ast.Call)}
    for node in names.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for bare in node.decorator_list:
                kind = PREFECT.get(names.origin(bare) or "")
                if kind and id(bare) not in called:
                    rule = NO_RETRIES_OF_ITS_OWN[kind]
                    yield _line(bare), f"{kind} {node.name} {rule.reason}", rule.advice
        if not isinstance(node, ast.Call):
            continue
        kind = PREFECT.get(names.origin(node.func) or "")
        given = names.call(node).argument("retries")
        if kind and given is None:
            rule = NO_RETRIES_OF_ITS_OWN[kind]
            yield _line(node), f"a {kind} {rule.reason}", rule.advice
        elif given is not None and not names.is_off(given, "zero"):
            if kind == "flow":
                yield _line(node), f"a flow has retries={ast.unparse(given)}", FLOW_RETRIES.advice
            elif isinstance(node.func, ast.Attribute) and node.func.attr == "with_options":
                yield from _with_options(node, node.func.value, given, names)


def _with_options(node: ast.Call, target: ast.expr, given: ast.expr, names: Names) -> Iterator[_Found]:
    kind = names.prefect.get(target.id) if isinstance(target, ast.Name) else None
    what = f"{ast.unparse(target)} gets retries={ast.unparse(given)}"
    if kind == "flow":
        yield _line(node), f"flow {what}", FLOW_RETRIES.advice
    # A task of this file may be given its policy's; of an object that nobody knows, a number says what is meant.
    elif kind is None and (names.origin(target) or names.is_number(given)):
        yield _line(node), what, RETRIES_FROM_OUTSIDE.advice


def _settings(names: Names) -> Iterator[_Found]:
    for node in names.nodes:
        for key, value in _set(node):
            name = names.text(key)
            if name is None:
                name = (names.origin(key) or str(getattr(key, "id", ""))).rpartition(".")[2]
            if name in SETTINGS:
                off, rule = SETTINGS[name]
                if not names.is_off(value, off):
                    yield _line(key), f"{name} is set to {ast.unparse(value)}, which {rule.reason}", rule.advice


def _set(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield what a line puts under a key: in a dict, by a subscript, or by a call."""
    if isinstance(node, ast.Dict):
        yield from ((key, value) for key, value in zip(node.keys, node.values, strict=True) if key is not None)
    elif isinstance(node, ast.Assign):
        yield from ((target.slice, node.value) for target in node.targets if isinstance(target, ast.Subscript))
    elif isinstance(node, ast.Call):
        method = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if method in ("setdefault", "putenv", "setenv", "__setitem__") and len(node.args) >= 2:
            yield node.args[0], node.args[1]
        for keyword in node.keywords:
            if keyword.arg:
                yield ast.copy_location(ast.Constant(keyword.arg), keyword), keyword.value


def _clusters(names: Names) -> Iterator[_Found]:
    """Dask and Ray run again what a dying worker had, unless they are told not to."""
    quiet = any(
        names.text(key) in DASK_SETTINGS and names.is_off(value, "zero") for node in names.nodes for key, value in _set(node)
    )
    for node in names.nodes:
        if isinstance(node, ast.Call):
            origin = names.origin(node.func)
            if origin in DASK_CLUSTERS and not quiet:
                yield _line(node), f"{origin} {DASK_DEFAULT.reason}", DASK_DEFAULT.advice
            elif origin == "ray.remote" and names.call(node).argument("max_retries") is None and not _is_class(node, names):
                yield _line(node), f"a Ray task {RAY_DEFAULT.reason}", RAY_DEFAULT.advice
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for bare in node.decorator_list:
                if names.origin(bare) == "ray.remote":
                    yield _line(bare), f"Ray task {node.name} {RAY_DEFAULT.reason}", RAY_DEFAULT.advice


def _is_class(call: ast.Call, names: Names) -> bool:
    """Return whether ray.remote(…) makes an actor, whose default is none."""
    return any(isinstance(node, ast.ClassDef) and call in node.decorator_list for node in names.nodes)


def _assignments(names: Names) -> Iterator[_Found]:
    for node in names.nodes:
        pairs: list[tuple[ast.expr, str, ast.expr]] = []
        if isinstance(node, ast.Assign):
            pairs = [(at.value, at.attr, node.value) for at in node.targets if isinstance(at, ast.Attribute)]
        elif isinstance(node, ast.AnnAssign | ast.AugAssign) and isinstance(node.target, ast.Attribute) and node.value:
            pairs = [(node.target.value, node.target.attr, node.value)]
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setattr" and len(node.args) == 3:
            pairs = [(node.args[0], names.text(node.args[1]) or "", node.args[2])]
        for owner, attribute, value in pairs:
            # An object's own field may hold what it was given; a number says what is meant.
            own = isinstance(owner, ast.Name) and owner.id in ("self", "cls")
            off = ARGUMENTS[attribute][0] if attribute in ARGUMENTS else "zero"
            if attribute in ATTRIBUTES and not names.is_off(value, off) and (names.is_number(value) or not own):
                yield _line(node), f"{ast.unparse(owner)}.{attribute} is set to {ast.unparse(value)}", ATTRIBUTE.advice


def _calls(names: Names) -> Iterator[_Found]:
    for node in names.nodes:
        if not isinstance(node, ast.Call):
            continue
        call = names.call(node)
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if method in METHODS:
            yield _line(node), f"{ast.unparse(node.func)} {METHODS[method].reason}", METHODS[method].advice
        name = names.origin(node.func) or ""
        yield from _client(call, name, names)
        yield from _model_by_name(call, name, names)
        yield from _retry_arguments(call, name, names)


def _client(call: Call, name: str, names: Names) -> Iterator[_Found]:
    wanted = CLIENTS.get(name)
    if wanted is None:
        return
    given = call.argument(wanted.name, wanted.position)
    if given is None and wanted.required:
        yield _line(call.node), f"{name} {wanted.rule.reason}", wanted.rule.advice
    elif given is not None and not names.is_off(given, wanted.off):
        what = f"{ast.unparse(call.node.func)} gets {wanted.name}={ast.unparse(given)}"
        yield _line(call.node), what, f"a client that retries is a second owner; {wanted.rule.advice}"


def _model_by_name(call: Call, name: str, names: Names) -> Iterator[_Found]:
    if name in MODELS_BY_NAME:
        model = call.argument("model", MODELS_BY_NAME[name])
        value = names.value(model) if model is not None else None
        if isinstance(value, ast.JoinedStr) or (value is not None and (names.text(value) or "test") not in NO_MODEL):
            yield (
                _line(call.node),
                f"the client behind the model {ast.unparse(value)} {MODEL_BY_NAME.reason}",
                MODEL_BY_NAME.advice,
            )


def _retry_arguments(call: Call, name: str, names: Names) -> Iterator[_Found]:
    root = name.partition(".")[0]
    if name in CLIENTS:
        checked = CLIENTS[name].name
    elif root in (*PACKAGES, "prefect") or (root in sys.stdlib_module_names and name != "functools.partial"):
        return
    else:
        checked = None
    is_method = isinstance(call.node.func, ast.Attribute)
    if is_method and getattr(call.node.func, "attr", "") == "with_options" and "retries" in call.named:
        checked = "retries"  # Prefect's, and looked at there.
    for keyword, given in call.named.items():
        off: Off = ARGUMENTS[keyword][0] if keyword in ARGUMENTS else "zero"
        literal = names.is_number(given)
        # A method of an unknown object may have a parameter of that name; a number says what is meant.
        imported = bool(name) and not name.startswith(".")
        if keyword in ARGUMENTS and keyword != checked and not names.is_off(given, off):
            if imported or (literal and (is_method or name)):
                what = f"{ast.unparse(call.node.func)} gets {keyword}={ast.unparse(given)}"
                yield _line(call.node), what, ARGUMENTS[keyword][1].advice
        elif keyword != checked:
            for key, inner in names.entries(given):
                if key in ARGUMENTS and names.is_number(inner) and not names.is_off(inner, ARGUMENTS[key][0]):
                    what = f"{ast.unparse(call.node.func)} gets {key}={ast.unparse(inner)} in {keyword}="
                    yield _line(call.node), what, ARGUMENTS[key][1].advice


def _line(node: ast.AST) -> int:
    return int(getattr(node, "lineno", 0))
