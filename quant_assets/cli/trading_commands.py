"""What the commands of `quant` about trading take, with their help: orders, turnover, capacity, sleeves."""

from pathlib import Path
from typing import Annotated

import typer

from quant_assets.cli.commands import FromOption, ProfileOption, SectorOption, ToOption, app
from quant_assets.cli.screen import show
from quant_assets.cli.session import Session


@app.command()
def orders(
    sector: Annotated[
        str | None, typer.Option("--sector", "-s", help="Sector slug [default: the total portfolio].")
    ] = None,
    month: Annotated[
        str | None, typer.Option("--month", "-m", help="Month, YYYY-MM [default: the newest month].")
    ] = None,
    capital: Annotated[
        float | None, typer.Option("--capital", help="Equity of the book in USD, holdings included [orders.capital].")
    ] = None,
    holdings: Annotated[
        Path | None,
        typer.Option("--holdings", help="CSV with ticker and quantity [default: what the sector's backtest holds]."),
    ] = None,
    export: Annotated[
        Path | None, typer.Option("--export", help="Folder for trades_to_execute, signals and allocation .csv.")
    ] = None,
    profile: ProfileOption = None,
) -> None:
    """Show what to trade so that holdings become the weights of a month, and write it as files.

    Nothing is shown or written while orders are halted: by `orders.halted`, or by the kill switch.

    Examples:

        quant orders --capital 1000000 --holdings holdings.csv

        quant orders -s it --month 2024-06 --export orders
    """
    session = Session(profile)
    chosen = session.months(month, month)[1]
    from quant_assets.cli.orders import output

    where = session.sectors([sector])[0] if sector else None
    for each in output(session.profile, where, chosen, capital, holdings, export):
        show(each)


@app.command()
def capacity(
    sector: SectorOption = None,
    first: FromOption = None,
    last: ToOption = None,
    capital: Annotated[
        str, typer.Option("--capital", help="Sizes of the book in USD, by commas.")
    ] = "1000000,10000000,100000000",
    plot: Annotated[Path | None, typer.Option("--plot", help="PNG to draw the result over capital into.")] = None,
    profile: ProfileOption = None,
) -> None:
    """Show what a sector's weights would have earned by the size of the book, with itemised costs.

    Examples:

        quant capacity -s it --from 2020-01 --to 2024-12

        quant capacity -s it --from 2015-01 --capital 5e6,5e8 --plot it.png
    """
    session = Session(profile)
    months = session.months(first, last)
    from quant_assets.cli.capacity import output

    named = session.sectors(sector) if sector else session.sectors_with("weights", months[1])
    for each in output(session.profile, named, *months, capital, plot):
        show(each)


@app.command()
def turnover(
    sector: SectorOption = None,
    first: FromOption = None,
    last: ToOption = None,
    profile: ProfileOption = None,
) -> None:
    """Show what a sector's backtest turned over by cause, and write turnover_report.json.

    Example:

        quant turnover -s it --from 2020-01 --to 2024-12
    """
    session = Session(profile)
    months = session.months(first, last)
    from quant_assets.cli.turnover import output

    named = session.sectors(sector) if sector else session.sectors_with("turnover", months[1])
    for name in named:
        for each in output(session.profile, name, *months):
            show(each)


@app.command()
def sleeves(
    crypto: Annotated[
        Path | None,
        typer.Option("--crypto", help="Parquet of daily UTC bars: ticker, date, close [default: the stored dataset]."),
    ] = None,
    month: Annotated[
        str | None, typer.Option("--month", "-m", help="Month, YYYY-MM [default: the newest month].")
    ] = None,
    multiplier: Annotated[
        float, typer.Option("--multiplier", min=0.0, help="With --crypto, the regime's exposure: .5, 1 or 1.2.")
    ] = 1.0,
    profile: ProfileOption = None,
) -> None:
    """Show the shares of equities, crypto and cash at a month's decision, and write sleeve_allocation.json.

    Equities are the total portfolio's backtest. What is held is the allocation of the month before, after its drift.
    Without --crypto the month of dataset sleeve_allocation is shown.

    Example:

        quant sleeves --month 2024-06
        quant sleeves --crypto crypto_daily.parquet --month 2024-06 --multiplier .5
    """
    session = Session(profile)
    chosen = session.months(month, month)[1]
    from quant_assets.cli.sleeves import output, stored

    found = stored(session.profile, chosen) if crypto is None else output(session.profile, chosen, crypto, multiplier)
    for each in found:
        show(each)
