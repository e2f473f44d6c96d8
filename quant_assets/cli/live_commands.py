"""What each command of `quant` about single sessions takes, with its help; those about months are in `commands`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from quant_assets.cli.commands import ProfileOption, SectorOption, app
from quant_assets.cli.screen import show
from quant_assets.cli.session import Session
from quant_assets.errors import SettingsError


@app.command()
def daily(
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="Session, YYYY-MM-DD [default: the last one that has closed].")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
    workers: Annotated[
        int,
        typer.Option(
            "--workers", "-w", min=1, help="Sectors computed at the same time.", show_default="number of cores"
        ),
    ] = os.cpu_count() or 1,
    profile: ProfileOption = None,
) -> None:
    """Carry out one session: compute what is unfinished, and write down what is said at its close.

    It is what the schedule `after_close` does. What was said once is not written again; of a session that is over
    longer, what would have been said is written down as late.

    Examples:

        quant daily

        quant daily --dry-run

        quant daily -p files --as-of 2024-06-28
    """
    session = Session(profile)
    from quant_assets.cli.daily import carry_out, planned

    for each in planned(session.profile, as_of) if dry_run else carry_out(session.profile, as_of, workers):
        show(each)


@app.command()
def live(
    sector: SectorOption = None,
    first: Annotated[str | None, typer.Option("--from", help="First day, YYYY-MM-DD [default: live.go_live].")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last day [default: the last closed session].")] = None,
    compare: Annotated[bool, typer.Option("--compare", help="What would be said otherwise today, and why.")] = False,
    json: Annotated[
        Path | None, typer.Option("--json", help="With --compare: write every difference into this file.")
    ] = None,
    profile: ProfileOption = None,
) -> None:
    """Show what came of what was said: returns of the weights, and how good the forecasts were that have matured.

    With `--compare` the ledger is held against what the stored months and today's code and settings give for the same
    sessions: inputs that were restated, changed code or settings, other checkpoints, entries that were late.

    Examples:

        quant live

        quant live --sector it --from 2026-11-02

        quant live --compare --json differences.json
    """
    if json is not None and not compare:
        raise SettingsError("--json writes the differences of --compare; add it")
    session = Session(profile)
    from quant_assets.cli.live import compare as compared
    from quant_assets.cli.live import record, span

    days = span(session.profile, first, last)
    chosen = session.sectors(sector) if sector else list(session.settings.live.of_sectors)
    for each in compared(session.profile, chosen, *days, json) if compare else record(session.profile, chosen, *days):
        show(each)
