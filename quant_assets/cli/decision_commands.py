"""The arguments, options and help of the commands about decisions."""

from pathlib import Path
from typing import Annotated

import typer

from quant_assets.cli.commands import ProfileOption, SectorOption, ToOption, app
from quant_assets.cli.screen import show
from quant_assets.cli.session import Session


@app.command()
def analyse(
    ticker: Annotated[str, typer.Argument(help="Symbol, such as AAPL.")],
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", help="Day, YYYY-MM-DD: take the newest decision up to it [default: the newest]."),
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with plots into this file.")] = None,
    profile: ProfileOption = None,
) -> None:
    """Show everything known about one stock at a decision: scores, forecasts, fair value, and statements.

    Reads the stored datasets `scores`, `predictions`, `prices` and `fundamentals`. Computes nothing, and writes only
    the page of `--html`.

    Examples:

        quant analyse HLT08

        quant analyse AAPL -p files --as-of 2016-06-30 --html aapl.html
    """
    session = Session(profile)
    from quant_assets.cli.analyse import analysed, output, parsed, write

    stock = analysed(session.profile, ticker, parsed(as_of))
    for part in output(stock):
        show(part)
    if html is not None:
        show(write(stock, html, "Simulated market" if session.settings.source == "demo" else None))


@app.command("factor-model")
def factor_model(
    sector: SectorOption = None,
    model: Annotated[str, typer.Option("--model", help="capm, ff3, carhart, ff5 or ff5_mom.")] = "ff3",
    returns: Annotated[
        list[Path] | None,
        typer.Option(
            "--returns", help="CSV of French's data library; may be repeated [default: own universe's factors]."
        ),
    ] = None,
    first: Annotated[
        str | None, typer.Option("--from", help="First month, YYYY-MM [default: the first stored].")
    ] = None,
    last: ToOption = None,
    profile: ProfileOption = None,
) -> None:
    """Regress a sector's backtest on known factors: annual alpha and betas, with Newey-West standard errors.

    Factor returns come from files in Kenneth French's format, daily or monthly (momentum is a separate file). Without
    a file they are long-short returns of the stored sectors, by the dataset `scores`; the output says so.

    Examples:

        quant factor-model -s healthcare --model ff5

        quant factor-model -s it --returns F-F_Research_Data_Factors_daily.csv
    """
    session = Session(profile)
    start, end = session.months(first or session.settings.partitions.start, last)
    from quant_assets.cli.factor_model import explained

    for name in session.sectors(sector) if sector else session.sectors_with("backtest", end):
        for part in explained(session.profile, name, start, end, model, returns or []):
            show(part)
