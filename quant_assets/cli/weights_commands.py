"""What `quant weights` takes, with its help."""

from typing import Annotated

import typer

from quant_assets.cli.commands import ProfileOption, SectorOption, app
from quant_assets.cli.screen import show
from quant_assets.cli.session import Session
from quant_assets.errors import SettingsError
from quant_assets.settings.weights import Book


@app.command()
def weights(
    sector: SectorOption = None,
    month: Annotated[
        str | None, typer.Option("--month", "-m", help="Month, YYYY-MM [default: the newest month].")
    ] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Several optimisers side by side.")] = False,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method", help="With --compare: an optimiser, as weights.method; may be repeated [default: all]."
        ),
    ] = None,
    book: Annotated[Book | None, typer.Option("--book", help="With --compare: instead of weights.book.")] = None,
    profile: ProfileOption = None,
) -> None:
    """Show the weights of a month, or with `--compare` those that several optimisers would hold. Writes nothing.

    The comparison is computed from the stored candidates, forecasts and prices: of each optimiser the risk that the
    covariance of the settings tells (`weights.covariance`), how it spreads over the names, what is traded against the
    stored weights of the month before, and what was earned until the next decision, where its prices are stored.

    Examples:

        quant weights --sector healthcare --month 2024-06

        quant weights -s it -m 2024-06 --compare

        quant weights -s it --compare --book dollar_neutral

        quant weights -s it --compare --method equal --method mean_cvar
    """
    if not compare and (method or book):
        raise SettingsError("--method and --book say what --compare compares; add it")
    session = Session(profile)
    chosen = session.months(month, month)[1]
    from quant_assets.cli.weights import compared, output

    read = "candidates" if compare else "weights"
    for name in session.sectors(sector) if sector else session.sectors_with(read, chosen):
        shown = (
            compared(session.profile, name, chosen, method or [], book)
            if compare
            else output(session.profile, name, chosen)
        )
        for each in shown:
            show(each)
