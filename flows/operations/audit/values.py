"""What names and expressions of a file stand for, as far as reading tells: origins, constants, values that mean no retries."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from flows.operations.audit.rules import PREFECT, URLLIB3_RETRY, Off


@dataclass(frozen=True)
class Call:
    """The arguments of a call, those of ``**{…}`` and ``**dict(…)`` among them."""

    node: ast.Call
    positional: tuple[ast.expr, ...]
    named: Mapping[str, ast.expr]

    def argument(self, name: str, position: int | None = None) -> ast.expr | None:
        """Return a call's argument by its name or place."""
        if name in self.named:
            return self.named[name]
        return self.positional[position] if position is not None and position < len(self.positional) else None


class Names:
    """The names of one file. Scopes are not told apart: a name means what any line of the file makes of it."""

    def __init__(self, tree: ast.AST) -> None:
        self.nodes = list(ast.walk(tree))
        self.origins = dict(_imported(self.nodes))
        assigned = sorted(_assigned(self.nodes), key=lambda pair: (pair[1].lineno, pair[1].col_offset))
        times: dict[str, int] = {}
        for name, _ in assigned:
            times[name] = times.get(name, 0) + 1
        self.constants = {name: value for name, value in assigned if times[name] == 1}
        self.prefect = dict(self._decorated())
        for name, value in assigned:
            origin = self.origin(value)
            if origin and origin != name:
                self.origins[name] = origin
                kind = PREFECT.get(origin.removesuffix("()").removesuffix("()"))
                if kind and origin.endswith("()"):
                    self.prefect[name] = kind

    def _decorated(self) -> Iterator[tuple[str, str]]:
        for node in self.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for decorator in node.decorator_list:
                    kind = PREFECT.get(self.origin(getattr(decorator, "func", decorator)) or "")
                    if kind:
                        yield node.name, kind

    def origin(self, node: ast.expr) -> str | None:
        """Return the dotted name that an expression stands for, () for each call; None where it comes from no import."""
        if isinstance(node, ast.Name):
            return self.origins.get(node.id, node.id if node.id == "__import__" else None)
        if isinstance(node, ast.Attribute):
            above = self.origin(node.value)
            return above and f"{above}.{node.attr}"
        if isinstance(node, ast.Call):
            made_by = self.origin(node.func)
            return made_by and f"{made_by}()"
        if isinstance(node, ast.Await):
            return self.origin(node.value)
        return None

    def value(self, node: ast.expr) -> ast.expr:
        """Return what a name was assigned, where that was done once; any other expression as it stands."""
        seen = set()
        while isinstance(node, ast.Name) and node.id in self.constants and node.id not in seen:
            seen.add(node.id)
            node = self.constants[node.id]
        return node

    def text(self, node: ast.expr) -> str | None:
        """Return the text that an expression is, where it is one."""
        value = self.value(node)
        return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None

    def call(self, node: ast.Call) -> Call:
        """Return a call's arguments; positions end at the first ``*``."""
        positional: list[ast.expr] = []
        for argument in node.args:
            if isinstance(argument, ast.Starred):
                break
            positional.append(argument)
        named = {
            name: value
            for keyword in node.keywords
            for name, value in ([(keyword.arg, keyword.value)] if keyword.arg else self.entries(keyword.value))
        }
        return Call(node, tuple(positional), named)

    def entries(self, node: ast.expr) -> list[tuple[str, ast.expr]]:
        """Return the entries of a dict that is written out."""
        value = self.value(node)
        if isinstance(value, ast.Dict):
            pairs = zip(value.keys, value.values, strict=True)
            return [(text, entry) for key, entry in pairs if key is not None and (text := self.text(key)) is not None]
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "dict":
            return list(self.call(value).named.items())
        return []

    def is_off(self, node: ast.expr, off: Off) -> bool:
        """Return whether a value means no retries. What reading can't tell, a parameter say, doesn't."""
        value = self.value(node)
        if off == "given":
            # A provider that is named stands for its default client.
            return not (isinstance(value, ast.Constant) and (value.value is None or isinstance(value.value, str)))
        entries = dict(self.entries(value))
        if off == "attempts":
            total, more = entries.get("total_max_attempts"), entries.get("max_attempts")
            return self.is_off(total, "once") if total is not None else more is not None and self.is_off(more, "zero")
        if off == "options":
            inner = entries.get("retry_options")
            if not entries and not isinstance(value, ast.Dict | ast.Constant):
                return True  # HttpOptions(…) and what comes from elsewhere are looked at where they are made.
            attempts = dict(self.entries(inner)).get("attempts") if inner is not None else None
            return isinstance(inner, ast.Call) or (attempts is not None and self.is_off(attempts, "once"))
        if off == "budgets" and self.origin(value) in ("pydantic_ai.AgentRetries()", "pydantic_ai.agent.AgentRetries()"):
            entries = dict(self.call(value).named) if isinstance(value, ast.Call) else {}
        if entries:
            complete = off != "budgets" or {"tools", "output"} <= entries.keys()
            return complete and all(self.is_off(entry, "zero") for entry in entries.values())
        if isinstance(value, ast.Call):
            return self.is_idle_retry(value)
        if not isinstance(value, ast.Constant):
            return False
        if value.value is None:
            return off == "none"
        return value.value in ((0, 1, "0", "1") if off == "once" else (0, "0"))

    def is_idle_retry(self, node: ast.Call) -> bool:
        """Return whether this is urllib3's Retry(0)."""
        total = self.call(node).argument("total", 0)
        return self.origin(node.func) in URLLIB3_RETRY and total is not None and self.is_off(total, "zero")

    def is_number(self, node: ast.expr) -> bool:
        """Return whether an expression is a number."""
        value = self.value(node)
        return isinstance(value, ast.Constant) and isinstance(value.value, int | float)


def _imported(nodes: list[ast.AST]) -> Iterator[tuple[str, str]]:
    """Local names with what they stand for: ``from prefect import task as t`` is t, prefect.task."""
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.asname, alias.name) if alias.asname else (alias.name.partition(".")[0],) * 2
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, f"{'.' * node.level}{node.module or ''}.{alias.name}"


def _assigned(nodes: list[ast.AST]) -> Iterator[tuple[str, ast.expr]]:
    for node in nodes:
        targets: list[ast.expr] = []
        value: ast.expr | None = None
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr | ast.AugAssign):
            targets, value = [node.target], node.value
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            targets, value = [node.optional_vars], node.context_expr
        if value is not None:
            yield from ((target.id, value) for target in targets if isinstance(target, ast.Name))
