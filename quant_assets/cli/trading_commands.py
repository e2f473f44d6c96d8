"""The arguments, options and help of the commands about trading: orders, turnover, capacity, sleeves."""

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
        float | None,
        typer.Option("--capital", help="Equity in USD, holdings included [default: orders.capital]."),
    ] = None,
    holdings: Annotated[
        Path | None,
        typer.Option("--holdings", help="CSV with ticker and quantity [default: positions of the backtest]."),
    ] = None,
    export: Annotated[
        Path | None, typer.Option("--export", help="Folder for trades_to_execute, signals and allocation .csv.")
    ] = None,
    profile: ProfileOption = None,
) -> None:
    """Show the orders that bring holdings to the weights of a month, and write them as files.

    Nothing is shown or written while orders are halted, by `orders.halted` or by the kill switch.

    Examples:

        quant orders --capital 1000000 --holdings holdings.csv

        quant orders -s it --month 2024-06 --export orders
    """
    session = Session(profile)
    chosen = session.months(month, month)[1]
    from quant_assets.cli.orders import output

    where = session.sectors([sector])[0] if sector else None
    for part in output(session.profile, where, chosen, capital, holdings, export):
        show(part)


@app.command()
def capacity(
    sector: SectorOption = None,
    first: FromOption = None,
    last: ToOption = None,
    capital: Annotated[
        str, typer.Option("--capital", help="Sizes of the book in USD, comma-separated.")
    ] = "1000000,10000000,100000000",
    plot: Annotated[Path | None, typer.Option("--plot", help="Write a PNG plot of the result by capital.")] = None,
    profile: ProfileOption = None,
) -> None:
    """Show what a sector's weights would have earned for several sizes of the book, with itemised costs.

    Examples:

        quant capacity -s it --from 2024-01 --to 2024-12

        quant capacity -s it --from 2024-01 --capital 5e6,5e8 --plot it.png
    """
    session = Session(profile)
    months = session.months(first, last)
    from quant_assets.cli.capacity import output

    sectors = session.sectors(sector) if sector else session.sectors_with("weights", months[1])
    for part in output(session.profile, sectors, *months, capital, plot):
        show(part)


@app.command()
def turnover(
    sector: SectorOption = None,
    first: FromOption = None,
    last: ToOption = None,
    profile: ProfileOption = None,
) -> None:
    """Show the turnover of a sector's backtest by cause, and write turnover_report.json.

    Example:

        quant turnover -s it --from 2024-01 --to 2024-12
    """
    session = Session(profile)
    months = session.months(first, last)
    from quant_assets.cli.turnover import output

    for name in session.sectors(sector) if sector else session.sectors_with("turnover", months[1]):
        for part in output(session.profile, name, *months):
            show(part)


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

    Equities are the backtest of the total portfolio. The held shares are last month's allocation after its drift.
    Without --crypto the command shows the month of the dataset sleeve_allocation.

    Example:

        quant sleeves --month 2024-06
        quant sleeves --crypto crypto_daily.parquet --month 2024-06 --multiplier .5
    """
    session = Session(profile)
    chosen = session.months(month, month)[1]
    from quant_assets.cli.sleeves import output, stored

    parts = stored(session.profile, chosen) if crypto is None else output(session.profile, chosen, crypto, multiplier)
    for part in parts:
        show(part)
