"""The arguments, options and help of the commands about single sessions."""

import os
from pathlib import Path
from typing import Annotated

import typer

from quant_assets.cli.commands import ProfileOption, SectorOption, app
from quant_assets.cli.screen import show
from quant_assets.cli.session import Session
from quant_assets.errors import UsageError


@app.command()
def daily(
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="Session, YYYY-MM-DD [default: the last closed session].")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")] = False,
    workers: Annotated[
        int,
        typer.Option("--workers", "-w", min=1, help="Sectors computed in parallel.", show_default="number of cores"),
    ] = os.cpu_count() or 1,
    profile: ProfileOption = None,
) -> None:
    """Process one session: compute unfinished partitions, and record the decisions at its close in the ledger.

    The schedule `after_close` does the same. A recorded decision is never written again; decisions of earlier sessions
    are recorded as late.

    Examples:

        quant daily

        quant daily --dry-run

        quant daily --as-of 2026-11-25
    """
    session = Session(profile)
    from quant_assets.cli.daily import carry_out, planned

    for part in planned(session.profile, as_of) if dry_run else carry_out(session.profile, as_of, workers):
        show(part)


@app.command()
def live(
    sector: SectorOption = None,
    first: Annotated[str | None, typer.Option("--from", help="First day, YYYY-MM-DD [default: live.go_live].")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last day [default: the last closed session].")] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Show what would differ today, and why.")] = False,
    json: Annotated[
        Path | None, typer.Option("--json", help="With --compare: write every difference into this file.")
    ] = None,
    profile: ProfileOption = None,
) -> None:
    """Show the live track record: returns of the recorded weights, and the quality of matured forecasts.

    `--compare` compares the ledger with what the stored months and today's code and settings give for the same
    sessions. Causes of differences: restated inputs, changed code or settings, other checkpoints, late entries.

    Examples:

        quant live

        quant live --sector it --from 2026-11-02

        quant live --compare --json differences.json
    """
    if json is not None and not compare:
        raise UsageError("--json writes the differences of --compare; add it")
    session = Session(profile)
    from quant_assets.cli.live import compare as differences
    from quant_assets.cli.live import record, span

    days = span(session.profile, first, last)
    chosen = session.sectors(sector) if sector else list(session.settings.live.of_sectors)
    parts = differences(session.profile, chosen, *days, json) if compare else record(session.profile, chosen, *days)
    for part in parts:
        show(part)
