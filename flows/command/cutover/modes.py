"""The command ``mode``: who serves the next batch, the ramp to the engine, the way back, and the record of both."""

import sys
from typing import Annotated

import typer
from rich.table import Table

import flows
from compat.contracts import utc_now
from compat.cutover import record
from compat.errors import Exit, InvalidInputError, Problem, Refused
from compat.modes.ramp import Ramp, next_step, parse_percent
from compat.parity import archive, gate
from compat.store import Store
from flows.command.terminal import Format, check_format, group, note, plain, print_json, show

mode_app = group("Which runtime serves the next batch, in every process.")

Organization = Annotated[str | None, typer.Option("--organization", metavar="ID", help="Only the batches of this organization.")]
Percent = Annotated[
    float | None, typer.Option("--percent", metavar="N", help="The engine's share of batches, 0 to 100, chosen by batch id.")
]
MinBatches = Annotated[int, typer.Option("--min-batches", help="Fresh batches wanted for every risk.", metavar="N")]
MaxAge = Annotated[str, typer.Option("--max-age", help="How old evidence may be, such as 7d or 12h.", metavar="AGE")]


class CutoverRefusedError(Refused):
    """The gate gives no go, so nothing was changed. ``missing`` says what keeps it shut, ``advice`` how to go past it."""

    verdict: str
    missing: str
    advice: str

    def __str__(self) -> str:
        return f"Nothing was changed, the gate says {self.verdict}: {self.missing}. {self.advice}"

    def __post_init__(self) -> None:
        # As `cutover check` exits.
        self.exit_code = Exit(gate.EXIT_CODES[self.verdict])  # type: ignore[misc, index]


@mode_app.command(name="show")
def mode_show(
    batch_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="A batch id; by default any batch.")] = None,
    organization: Organization = None,
) -> None:
    """Show the mode of the next batch, or of one with this id, what chose it, the ramp, and the last change."""
    decision = flows.current_mode(batch_id=batch_id, organization_id=organization)
    sys.stdout.write(f"{decision.mode} ({decision.reason})\n")
    store = Store.from_settings()
    ramp = Ramp.from_switches(store.switches())
    if ramp:
        sys.stdout.write(f"ramp to the engine: {ramp}\n")
    for change in record.changes(store.database, 1, *record.CHANGING):
        note(f"last change: {change}; by {change.made_by}, {change.created_at:%Y-%m-%d %H:%M:%S} UTC")


@mode_app.command(name="set")
def mode_set(
    mode: Annotated[str, typer.Argument(metavar="MODE", help="legacy, engine or shadow.")],
    percent: Percent = None,
    organization: Organization = None,
) -> None:
    """Store the mode for every process, from the next batch on. Needs no Prefect.

    With --percent the engine serves that share, always the same batches, and the others keep the stored mode. Without it and
    without --organization the mode is everybody's, and ends every ramp.
    """
    flows.set_mode(mode, percent, organization)
    mode_show()


@mode_app.command(name="promote")
def mode_promote(
    percent: Percent = None,
    override: Annotated[
        str | None, typer.Option("--override", metavar="REASON", help="Promote without a go; kept with your name and the moment.")
    ] = None,
    min_batches: MinBatches = 50,
    max_age: MaxAge = "7d",
) -> None:
    """Ask the gate, and with its go give the engine its next share: 5, 20, 50, then 100 % of batches."""
    store = Store.from_settings()
    now = Ramp.from_switches(store.switches()).percent or 0.0
    share = next_step(now) if percent is None else parse_percent(percent)
    if "demotion" in store.switches():
        raise InvalidInputError(
            [Problem("mode", "demoted", "end the demotion first: knowledge-batch mode restore --reason REASON")]
        )
    if share < now:
        advice = f"is less than the present share of {now:g} %; to go back: knowledge-batch mode set engine --percent {share:g}"
        raise InvalidInputError([Problem("--percent", share, advice)])
    checked = _asked(store, min_batches, max_age, override, "--override", "knowledge-batch mode promote --override REASON")
    whole = share == 100
    past = override is not None and checked.verdict != "go"
    reason = override if past else f"the gate says {checked.verdict}"
    record.set_mode(store.database, "engine", None if whole else share, None, "promote", reason, past, checked.to_dict())
    mode_show()


@mode_app.command(name="demote")
def mode_demote(
    reason: Annotated[str, typer.Argument(metavar="REASON", help="Why; it is stored with every batch that goes to legacy.")],
    hand_over: Annotated[
        bool,
        typer.Option("--hand-over", help="Legacy also takes the batches that the engine has in work; else it ends them."),
    ] = False,
) -> None:
    """Send every batch to legacy, whatever callers, environments and the stored mode say, until mode restore."""
    flows.demote(reason, hand_over)
    mode_show()


@mode_app.command(name="restore")
def mode_restore(
    reason: Annotated[str, typer.Option("--reason", metavar="REASON", help="What was found and mended; it is kept.")],
    override: Annotated[
        bool, typer.Option("--override", help="End the demotion without fresh evidence; kept with your name and the moment.")
    ] = False,
    min_batches: MinBatches = 50,
    max_age: MaxAge = "7d",
) -> None:
    """End a demotion, on evidence that is younger than it: callers, environments and the stored mode decide again."""
    store = Store.from_settings()
    if "demotion" not in store.switches():
        note("nothing is demoted, so nothing was changed")
    else:
        text = reason if override else None
        advice = "knowledge-batch mode restore --reason REASON --override"
        checked = _asked(store, min_batches, max_age, text, "--reason", advice)
        if not reason.strip():
            raise InvalidInputError([Problem("--reason", reason, "say what was found and mended")])
        record.restore(store.database, reason, override and checked.verdict != "go", checked.to_dict())
    mode_show()


@mode_app.command(name="history")
def mode_history(
    limit: Annotated[int, typer.Option(help="How many changes to list.", min=1)] = 20, format: Format = "table"
) -> None:
    """List the changes of who serves, the newest first: what, by whom, when, and why."""
    check_format(format)
    found = record.changes(Store.from_settings().database, limit)
    if format == "json":
        print_json([change.to_dict() for change in found])
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("when (UTC)", "by", "change"):
        table.add_column(heading, overflow="fold")
    for change in found:
        table.add_row(*plain(f"{change.created_at:%Y-%m-%d %H:%M:%S}", change.made_by, str(change)))
    show(table)


def _asked(store: Store, min_batches: int, max_age: str, override: str | None, option: str, past: str) -> gate.CutoverCheck:
    """Return the gate's answer. Raises CutoverRefusedError where it is no go and nobody says why to go past it."""
    if override is not None and not override.strip():
        raise InvalidInputError([Problem(option, override, "say why; it is kept with your name")])
    since = record.evidence_since(store.database)
    age = gate.parse_age(max_age, "--max-age")
    checked = archive.judged(store.database, Store.of_shadows().database, min_batches, age, since)
    if checked.verdict != "go" and override is None:
        risks: dict[str, list[str]] = {}
        for row in checked.rows:
            if row.verdict != "go":
                risks.setdefault(f"{row.verdict}: {row.reason}", []).append(str(row.risk))
        rows = [f"{', '.join(names)} {why}" for why, names in risks.items()]
        after = (
            f" (evidence counts since the demotion of {since:%Y-%m-%d %H:%M:%S} UTC)" if since and since > utc_now() - age else ""
        )
        advice = f"Gather it with knowledge-batch run SOURCE --mode shadow, or go past the gate: {past}"
        raise CutoverRefusedError(checked.verdict, "; ".join([*rows, *checked.missing]) + after, advice)
    return checked
