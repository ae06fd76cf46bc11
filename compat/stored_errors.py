"""Errors as the store keeps them, and as they come back."""

from dataclasses import dataclass
from importlib import import_module

from compat.errors import KnowledgeBatchError
from compat.keepable import keepable, keepable_text, text_of


@dataclass(frozen=True)
class StoredError:
    """An error as the store keeps it: class, text, and whether another attempt could help."""

    class_path: str
    message: str
    terminal: bool
    args: tuple[object, ...] = ()

    @classmethod
    def of(cls, error: BaseException) -> "StoredError":
        """Return what can be stored of an error, even of one whose text or class can't be read."""
        if isinstance(error, ReplayedError):
            return error.stored
        values: tuple[object, ...] = ()
        if isinstance(error, KnowledgeBatchError):
            values = tuple(keepable(getattr(error, name, None)) for name in error.fields)
        kind = type(error)
        return cls(keepable_text(f"{kind.__module__}:{kind.__qualname__}"), text_of(error), is_terminal(error), values)

    @property
    def text(self) -> str:
        """``ClassName: message``, as results and events show it."""
        name = self.class_path.rpartition(":")[2].rpartition(".")[2]
        return f"{name}: {self.message}" if self.message else name

    def restore(self) -> Exception:
        """Return an error of the same class. One whose class is gone comes back as RuntimeError with the same text."""
        module, _, name = self.class_path.partition(":")
        try:
            kind: object = import_module(module)
            for part in name.split("."):
                kind = getattr(kind, part)
        except (ImportError, AttributeError):
            return RuntimeError(self.text)
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            return RuntimeError(self.text)
        try:
            if not self.args:
                return kind(self.message)
            return kind.from_stored(self.args) if issubclass(kind, KnowledgeBatchError) else kind(*self.args)
        except Exception:  # a foreign class may want other arguments; its text must not be lost for that
            return RuntimeError(self.text)


class ReplayedError(Exception):
    """An error that was stored before and is raised again. It is stored as it was, even if its class can't be created here."""

    def __init__(self, stored: StoredError) -> None:
        self.stored = stored
        super().__init__(stored.text)


def is_terminal(error: BaseException) -> bool:
    """Return whether another attempt can't change this error."""
    try:
        return bool(getattr(error, "terminal", False))
    except Exception:  # a property of a foreign class; an error that can't say is tried again
        return False
