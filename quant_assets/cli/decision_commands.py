"""What each command of `quant` about decisions takes, with its help; the others are in `commands`."""

from pathlib import Path
from typing import Annotated

import typer

from quant_assets.cli.commands import ProfileOption, app
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
