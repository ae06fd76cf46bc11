"""A migrated database for the embedded server: migrations take most of a first start; a copy of the template needs none.

The first embedded server of a Prefect version leaves its new database, with no runs in it, in the user's cache; later homes
begin with a copy.
"""

import logging
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing, suppress
from importlib.metadata import version
from pathlib import Path

log = logging.getLogger("knowledge_batch")


def template_path() -> Path:
    """Return where the template for the installed Prefect lies, or would lie."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return cache / "knowledge-batch" / f"prefect-{version('prefect')}.db"


def begin_with_template(database: Path) -> bool:
    """Put a copy of the template where there is no database yet. Return whether the database is as far as the template."""
    template = template_path()
    try:
        database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not database.exists() and template.exists():
            copy = _free_name(database)
            try:
                shutil.copyfile(template, copy)
                # Unlike a rename, it fails where another process made the database meanwhile.
                os.link(copy, database)
            finally:
                copy.unlink()
        revision = _revision(database)
        return revision is not None and revision == _revision(template)
    except OSError as error:
        # The server reports a home that can't be written; without the template it only starts later.
        log.debug("no template for the embedded server: %s", error)
        return False


def keep_as_template(database: Path) -> None:
    """Keep a copy of a new database as the template, unless there is one."""
    template = template_path()
    with suppress(OSError, sqlite3.Error):
        if template.exists() or not database.exists():
            return
        template.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        copy = _free_name(template)
        try:
            # A copy of the file alone would miss what is in its write-ahead log.
            with closing(sqlite3.connect(database)) as connection:
                if connection.execute("SELECT count(*) FROM flow_run").fetchone() == (0,):
                    connection.execute("VACUUM INTO ?", (str(copy),))
            if _revision(copy) is not None:
                copy.replace(template)
        finally:
            copy.unlink(missing_ok=True)


def _free_name(beside: Path) -> Path:
    handle, name = tempfile.mkstemp(dir=beside.parent, prefix=f"{beside.name}.")
    os.close(handle)
    return Path(name)


def _revision(database: Path) -> str | None:
    """Return the migration that a database of Prefect stands at, None where that can't be read."""
    if not database.exists():
        return None
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return None if row is None else str(row[0])
    return None
