"""What each command of `quant` about what is stored takes, with its help: rows, pages, old partitions."""

from pathlib import Path
from typing import Annotated

import typer

from quant_assets.cli.commands import FromOption, ProfileOption, SectorOption, app
from quant_assets.cli.screen import show as printed
from quant_assets.cli.session import Session
from quant_assets.errors import SettingsError

MonthOption = Annotated[str | None, typer.Option("--month", "-m", help="Month, YYYY-MM [default: the newest stored].")]


@app.command()
def show(
    dataset: Annotated[str, typer.Argument(help="Dataset, such as candidates or prices; quant status lists them.")],
    sector: SectorOption = None,
    month: MonthOption = None,
    first: FromOption = None,
    last: Annotated[str | None, typer.Option("--to", help="Last month, YYYY-MM [default: the newest stored].")] = None,
    ticker: Annotated[
        list[str] | None, typer.Option("--ticker", "-t", help="Ticker; several by commas or repeated [default: all].")
    ] = None,
    columns: Annotated[
        list[str] | None, typer.Option("--columns", "-c", help="Columns, by commas or repeated [default: all].")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-n", min=0, help="Most rows, 0 for all [default: 20 in a table, else all]."),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="table, csv, json or parquet.")] = "table",
    out: Annotated[Path | None, typer.Option("--out", help="File to write, in place of the screen.")] = None,
    python: Annotated[bool, typer.Option("--python", help="Print three lines of Python that read the same.")] = False,
    profile: ProfileOption = None,
) -> None:
    """Show rows of any stored dataset, on the screen or as a file. Nothing stored changes.

    Examples:

        quant show candidates -s it -m 2024-06

        quant show prices -s it --from 2024-01 -t TEC01 -c date,close

        quant show predictions --format csv --out predictions.csv

        quant show weights -s it --python
    """
    if month is not None and (first is not None or last is not None):
        raise SettingsError("--month is one month and --from with --to a range; give one of the two")
    session = Session(profile)
    from quant_assets.cli import show as body

    for each in (month, first, last):
        body.check_month(each)
    body.check_format(form)
    asked = body.Asked(
        session.sectors(sector) if sector else (),
        first,
        month or last,
        _parted(ticker),
        _parted(columns),
        limit,
    )
    rows = body.rows_of(session.profile, dataset, asked)
    if python:
        printed(body.python(session.profile, rows, asked))
        return
    body.written(rows, form, out, limit)


@app.command()
def report(
    sector: SectorOption = None,
    month: MonthOption = None,
    portfolio: Annotated[bool, typer.Option("--portfolio", help="The page of the total portfolio.")] = False,
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    profile: ProfileOption = None,
) -> None:
    """Show where the report of a sector is: the newest one, or that of a month. Without a sector, a list of all pages.

    The list, `index.html`, and the page of the total portfolio are made from what is stored, each time they are asked
    for.

    Examples:

        quant report --open

        quant report -s it --open

        quant report --sector healthcare --month 2024-06

        quant report --portfolio --month 2024-06
    """
    session = Session(profile)
    if month is not None:
        session.months(month, month)
    if portfolio and sector:
        raise SettingsError("--portfolio spans the sectors; leave --sector out")
    from quant_assets.cli import report as body

    if portfolio:
        found = [body.of_portfolio(session.profile, month)]
    elif sector or month:
        chosen = session.sectors(sector) if sector else session.sectors_with("ops_report", str(month))
        found = body.of_sectors(session.profile, chosen, month)
    else:
        found = [body.index(session.profile)]
    for each in body.opened(session.profile, found) if open_it else found:
        printed(each)


@app.command()
def prune(
    before: Annotated[str, typer.Option("--before", help="Month, YYYY-MM: partitions of earlier months are pruned.")],
    dataset: Annotated[
        list[str] | None, typer.Option("--dataset", "-d", help="Dataset; may be repeated [default: every one].")
    ] = None,
    sector: SectorOption = None,
    yes: Annotated[bool, typer.Option("--yes/--dry-run", help="Remove them; by default they are only shown.")] = False,
    profile: ProfileOption = None,
) -> None:
    """Show the stored partitions before a month and their size, or remove them, also from Dagster's list.

    What was said at the time (the ledger), the log of trials and registered models are never removed.

    Examples:

        quant prune --before 2015-01

        quant prune --before 2020-01 --dataset features --dataset labels --yes
    """
    session = Session(profile)
    from quant_assets.cli.prune import output

    for each in output(session, before, dataset or [], session.sectors(sector), removing=yes):
        printed(each)


def _parted(given: list[str] | None) -> list[str]:
    return [name for each in given or () for name in each.split(",")]
