"""The commands that keep the service running: retries, db, prune, automations, deploy, up."""

from typing import Annotated

import typer
from rich.table import Table

from compat.errors import Exit
from compat.parity.gate import parse_age
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


def prune(
    older_than: Annotated[str, typer.Option("--older-than", metavar="AGE", help="An age, such as 30d, 12h or 90m.")],
    delete: Annotated[bool, typer.Option("--delete", help="Delete them. Without it they are only counted.")] = False,
    format: Format = "table",
) -> None:
    """Count, and with --delete remove, ended batches, shadow runs, unused answers and calls that are older.

    What the gate rests on is kept, and the batches of its last 7 days.
    """
    from flows.operations import prune as pruning

    check_format(format)
    age = parse_age(older_than, "--older-than")
    settings = Settings.load()
    work = pruning.prune if delete else pruning.look
    found = work(Store.from_settings(settings), Store.of_shadows(settings), age)
    if format == "json":
        print_json(found.to_dict())
        return
    old, kept = found.old, found.kept
    table = Table.grid(padding=(0, 2))
    table.add_row("removed" if found.removed else "older", f"than {older_than}, from before {found.before:%Y-%m-%d %H:%M} UTC")
    table.add_row("batches", f"{old.batches}, with {old.documents} documents and {old.events} events")
    table.add_row("shadow runs", str(old.shadow_runs))
    table.add_row("answers", f"{old.answers} that nobody has used since")
    table.add_row("calls", f"{old.calls} to models")
    evidence = (
        f"{kept.reports} parity reports, {kept.baselines} baselines, {kept.checks} checks, {kept.changes} changes on record"
    )
    table.add_row("kept", f"for the gate: {evidence}")
    for count, why in (
        (kept.in_gate_window, "that ended in the last 7 days, by which the gate judges"),
        (kept.unfinished, "that haven't ended; knowledge-batch list shows them"),
        (kept.awaiting_shadow, "that wait for their shadow; the deployment reconcile/upkeep submits it"),
    ):
        if count:
            table.add_row("", f"{count} batches {why}")
    show(table)
    if not found.removed:
        note("nothing was changed; --delete removes what is older")


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
