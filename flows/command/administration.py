"""The commands that keep the service running: retries, db, automations, deploy, up."""

from typing import Annotated

import typer
from rich.table import Table

from compat.errors import Exit
from compat.settings import Settings
from compat.store import Store
from compat.store.database import SHADOW, Database
from compat.store.migrations import HEAD
from flows.command.terminal import Format, check_format, group, note, plain, print_json, show, whole_number
from flows.operations import stack

retries_app = group("Proof that retries have one owner.")
db_app = group("The database's tables.")
automations_app = group("Prefect's automations.")


@retries_app.callback()
@automations_app.callback()
@db_app.callback()
def _group() -> None:
    # A group with one command would be that command itself.
    pass


def up(
    port: Annotated[
        int, typer.Option(parser=whole_number, metavar="N", help="The port of Prefect's server and its page.")
    ] = 4200,
) -> None:
    """Start Prefect's server, deployments and a worker on this machine; Ctrl-C stops them all."""
    stack.up(port, note)


def deploy() -> None:
    """Create the deployments that the server at PREFECT_API_URL lacks, and update ours; what operators set stays."""
    from flows.operations import deployments

    deployments.apply(note)


@db_app.command(name="upgrade")
def db_upgrade() -> None:
    """Create the tables, or upgrade those of an older version, including those of shadow runs."""
    url = Settings.load().url
    for namespace in (None, SHADOW):
        Database(url, namespace, upgrade=True)
        note(f"up to date: {namespace or 'main'} (schema {HEAD})")


@automations_app.command(name="apply")
def automations_apply(
    notify: Annotated[
        str | None,
        typer.Option(help="The notification block, TYPE/NAME, or none; by default the present one stays.", metavar="BLOCK"),
    ] = None,
) -> None:
    """Create or update the automations on the server at PREFECT_API_URL."""
    from flows.operations import automations

    for name in automations.apply(notify):
        note(f"in place: {name}")


@retries_app.command(name="audit")
def retries_audit(
    batch_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="A batch; by default all of them.")] = None,
    format: Format = "table",
) -> None:
    """Check code, Prefect's settings and stored attempts for second owners of retries; exit with 1 if there are any."""
    from flows.operations.audit import audit

    check_format(format)
    settings = Settings.load()
    found = audit(Store.from_settings(settings), settings.extractor, batch_id)
    if format == "json":
        print_json(found.to_dict())
    else:
        table = Table.grid(padding=(0, 2))
        table.add_row("code", f"{found.files} files read")
        for owner in found.ledger:
            made = f"{owner.batches} batches, {owner.documents} documents, {owner.attempts} attempts"
            table.add_row(owner.owner, f"{made}, {owner.over_budget} documents over their budget")
        table.add_row("findings", str(len(found.findings)))
        for finding in found.findings:
            table.add_row("", *plain(str(finding)))
        show(table)
    raise typer.Exit(Exit.FAILED if found.findings else Exit.COMPLETED)
