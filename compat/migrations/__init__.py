"""The schema's versions, and how an older database is brought up to date.

A change of the schema is a change of ``compat.schema`` and a revision in ``versions`` that makes the same of a database
written before it; ``REVISIONS`` lists it last. A test holds the two together, on both databases.
"""

from sqlalchemy import Connection, inspect, text

from compat.schema import Base, BatchRun

REVISIONS = ("0001", "0002")
HEAD = REVISIONS[-1]
# Of our own: Prefect's server keeps its version in ``alembic_version``, and may share a database with us.
TABLE = "knowledge_schema_version"


def current(connection: Connection) -> str | None:
    """The schema's version; None where there are no tables of ours."""
    tables = inspect(connection)
    if tables.has_table(TABLE):
        version: str | None = connection.execute(text(f"SELECT version_num FROM {TABLE}")).scalar()  # noqa: S608 -- ours
        return version
    # The first tables were written without saying which they are.
    return REVISIONS[0] if tables.has_table(BatchRun.__tablename__) else None


def upgrade(connection: Connection, version: str | None) -> None:
    """Brings a database of this version to the newest, in the connection's transaction."""
    # Imported here: what is up to date needs no Alembic, and that is nearly every start of a process.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "compat:migrations")
    config.attributes["connection"] = connection
    if version is None:
        # The same as all revisions one after the other, and faster.
        Base.metadata.create_all(connection)
        command.stamp(config, HEAD)
        return
    command.stamp(config, version)
    command.upgrade(config, HEAD)
