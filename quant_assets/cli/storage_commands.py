"""The arguments, options and help of the commands about stored data: rows, pages, old partitions."""

from pathlib import Path
from typing import Annotated

import typer

from quant_assets.cli.commands import FromOption, ProfileOption, SectorOption, app
from quant_assets.cli.screen import show as printed
from quant_assets.cli.session import Session
from quant_assets.errors import UsageError

MonthOption = Annotated[str | None, typer.Option("--month", "-m", help="Month, YYYY-MM [default: the newest stored].")]


@app.command()
def show(
    dataset: Annotated[str, typer.Argument(help="Dataset, such as candidates or prices; quant status lists them.")],
    sector: SectorOption = None,
    month: MonthOption = None,
    first: FromOption = None,
    last: Annotated[str | None, typer.Option("--to", help="Last month, YYYY-MM [default: the newest stored].")] = None,
    ticker: Annotated[
        list[str] | None, typer.Option("--ticker", "-t", help="Ticker; comma-separated or repeated [default: all].")
    ] = None,
    columns: Annotated[
        list[str] | None, typer.Option("--columns", "-c", help="Columns, comma-separated or repeated [default: all].")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-n", min=0, help="Most rows, 0 for all [default: 20 in a table, else all]."),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="table, csv, json or parquet.")] = "table",
    out: Annotated[Path | None, typer.Option("--out", help="Write to this file instead of the screen.")] = None,
    python: Annotated[bool, typer.Option("--python", help="Print three lines of Python that read the same.")] = False,
    profile: ProfileOption = None,
) -> None:
    """Show rows of any stored dataset, on the screen or as a file. The storage does not change.

    Examples:

        quant show candidates -s it -m 2024-06

        quant show prices -s it --from 2024-01 -t TEC01 -c date,close

        quant show predictions --format csv --out predictions.csv

        quant show weights -s it --python
    """
    if month is not None and (first is not None or last is not None):
        raise UsageError("--month is one month, --from and --to are a range; give only one of the two")
    session = Session(profile)
    from quant_assets.cli import show as body
    from quant_assets.grains import check_order

    for label in (month, first, last):
        body.check_month(label)
    if first is not None and last is not None:
        check_order(first, last)
    body.check_format(form)
    query = body.Query(
        session.sectors(sector) if sector else (),
        first,
        month or last,
        _split(ticker),
        _split(columns),
        limit,
    )
    rows = body.rows_of(session.profile, dataset, query)
    if python:
        printed(body.python(session.profile, rows, query))
        return
    body.written(rows, form, out, limit)


@app.command()
def report(
    sector: SectorOption = None,
    month: MonthOption = None,
    portfolio: Annotated[bool, typer.Option("--portfolio", help="Show the page of the total portfolio.")] = False,
    open_it: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    profile: ProfileOption = None,
) -> None:
    """Show the path of a sector's newest report, or that of a month; without a sector, of the list of all pages.

    The list, `index.html`, and the page of the total portfolio are written from stored data on every call.

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
        raise UsageError("--portfolio spans the sectors; leave --sector out")
    from quant_assets.cli import report as body

    if portfolio:
        addresses = [body.of_portfolio(session.profile, month)]
    elif sector or month:
        chosen = session.sectors(sector) if sector else session.sectors_with("ops_report", str(month))
        addresses = body.of_sectors(session.profile, chosen, month)
    else:
        addresses = [body.index(session.profile)]
    for line in body.opened(session.profile, addresses) if open_it else addresses:
        printed(line)


@app.command()
def prune(
    before: Annotated[str, typer.Option("--before", help="Month, YYYY-MM; partitions of earlier months are pruned.")],
    dataset: Annotated[
        list[str] | None, typer.Option("--dataset", "-d", help="Dataset; may be repeated [default: all].")
    ] = None,
    sector: SectorOption = None,
    yes: Annotated[bool, typer.Option("--yes/--dry-run", help="Remove them; the default only lists them.")] = False,
    profile: ProfileOption = None,
) -> None:
    """Show the stored partitions before a month and their size, or remove them, also from the Dagster instance.

    The ledger of live decisions, the log of trials and registered models are never removed.
    With --sector, datasets that span sectors, such as macro, stay unless --dataset names them: other sectors need them.

    Examples:

        quant prune --before 2022-01

        quant prune --before 2022-01 --sector it

        quant prune --before 2023-01 --dataset features --dataset labels --yes
    """
    session = Session(profile)
    from quant_assets.cli.prune import output

    for part in output(session, before, dataset or [], session.sectors(sector) if sector else (), removing=yes):
        printed(part)


def _split(values: list[str] | None) -> list[str]:
    """Distinct names of an option, whose values may be comma-separated, in their order."""
    return list(dict.fromkeys(name.strip() for value in values or () for name in value.split(",")))
