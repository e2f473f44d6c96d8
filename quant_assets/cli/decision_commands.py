"""What each command of `quant` about decisions takes, with its help; the others are in `commands`."""

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
        typer.Option("--as-of", help="Day, YYYY-MM-DD: the newest decision up to it [default: the newest]."),
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write the page with its plots into this file.")] = None,
    profile: ProfileOption = None,
) -> None:
    """Show all of one stock as it was known at a decision: scores, forecasts, fair value, and statements.

    It is read from the stored datasets (`scores`, `predictions`, `prices`, `fundamentals`); nothing is computed or
    written but the page that `--html` asks for.

    Examples:

        quant analyse HLT08

        quant analyse AAPL -p files --as-of 2016-06-30 --html aapl.html
    """
    session = Session(profile)
    from quant_assets.cli.analyse import analysed, output, parsed, write

    stock = analysed(session.profile, ticker, parsed(as_of))
    for each in output(stock):
        show(each)
    if html is not None:
        show(write(stock, html, "Simulated market" if session.settings.source == "demo" else None))


@app.command("factor-model")
def factor_model(
    sector: SectorOption = None,
    model: Annotated[str, typer.Option("--model", help="capm, ff3, carhart, ff5 or ff5_mom.")] = "ff3",
    returns: Annotated[
        list[Path] | None,
        typer.Option("--returns", help="CSV of French's data library; may be repeated [default: own universe]."),
    ] = None,
    first: Annotated[
        str | None, typer.Option("--from", help="First month, YYYY-MM [default: the first stored].")
    ] = None,
    last: ToOption = None,
    profile: ProfileOption = None,
) -> None:
    """Show what a sector's backtest owes to known factors: alpha a year and betas, with Newey-West errors.

    Factor returns come from files as Kenneth French publishes them, daily or monthly (momentum is a file of its own).
    Without a file they are long-short returns of the stored sectors, by dataset `scores`, which is said.

    Examples:

        quant factor-model -s healthcare --model ff5

        quant factor-model -s it --returns F-F_Research_Data_Factors_daily.csv
    """
    session = Session(profile)
    begin, end = session.months(first or session.settings.partitions.start, last)
    from quant_assets.cli.factor_model import explained

    for name in session.sectors(sector) if sector else session.sectors_with("backtest", end):
        for each in explained(session.profile, name, begin, end, model, returns or []):
            show(each)
