"""Files and folders that commands write: refused by the option's name where they can't be, before the work where that shows."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from compat.errors import InvalidInputError, Problem


@contextmanager
def writing(option: str, path: Path) -> Iterator[None]:
    """Turn what fails of writing into an InvalidInputError that names the option."""
    try:
        yield
    except OSError as error:
        advice = f"can't be written ({error.strerror or type(error).__name__}); name another one"
        raise InvalidInputError([Problem(option, str(path), advice)]) from None


def check_file(option: str, file: Path) -> None:
    """Raise InvalidInputError for a file that can't be written."""
    # Not Path's own, which raise for a name that is too long.
    if os.path.isdir(file):
        raise InvalidInputError([Problem(option, str(file), "is a folder; name a file in it")])
    if not os.path.isdir(file.absolute().parent):
        raise InvalidInputError([Problem(option, str(file), f"there is no folder {file.absolute().parent}; make it first")])
    # Only writing shows whether it can be: rights, a read-only or full disk.
    with writing(option, file), TemporaryFile(dir=file.absolute().parent):
        pass


def make_folder(option: str, folder: Path) -> None:
    """Make a folder that can be written to. Raises InvalidInputError."""
    with writing(option, folder):
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
