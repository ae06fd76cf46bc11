"""The schema's versions, and how an older database is brought up to date.

A change of the schema is a change of ``compat.schema`` and a revision in ``versions`` that makes the same of a database
written before it; ``REVISIONS`` lists it last. A test holds the two together, on both databases.
"""

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, inspect, select

from compat.store.schema import Base, BatchRun

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011")
HEAD = REVISIONS[-1]
# Of our own: Prefect's server keeps its version in ``alembic_version``, and may share a database with us.
TABLE = "knowledge_schema_version"
# As Alembic makes it.
_VERSIONS = Table(
    TABLE,
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{TABLE}_pkc"),
)


def current(connection: Connection) -> str | None:
    """Return the schema's version; None where there are no tables of ours."""
    tables = inspect(connection)
    if tables.has_table(TABLE):
        version: str | None = connection.execute(select(_VERSIONS.c.version_num)).scalar()
        return version
    # The first tables were written without saying which they are.
    return REVISIONS[0] if tables.has_table(BatchRun.__tablename__) else None


def upgrade(connection: Connection, version: str | None) -> None:
    """Bring a database of this version to the newest, in the connection's transaction."""
    if version is None:
        # The same as all revisions one after the other, without what Alembic takes to load.
        Base.metadata.create_all(connection)
        _VERSIONS.create(connection)
        connection.execute(_VERSIONS.insert().values(version_num=HEAD))
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "compat.store:migrations")
    config.attributes["connection"] = connection
    command.stamp(config, version)
    command.upgrade(config, HEAD)
