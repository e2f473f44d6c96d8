"""The arguments, options and help of `quant weights`."""

from itertools import chain
from typing import Annotated

import typer

from quant_assets.cli.commands import ProfileOption, SectorOption, app
from quant_assets.cli.screen import merged, show
from quant_assets.cli.session import Session
from quant_assets.errors import UsageError
from quant_assets.settings.weights import Book


@app.command()
def weights(
    sector: SectorOption = None,
    month: Annotated[
        str | None, typer.Option("--month", "-m", help="Month, YYYY-MM [default: the newest month].")
    ] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Show several optimisers side by side.")] = False,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method", help="With --compare: an optimiser, as in weights.method; may be repeated [default: all]."
        ),
    ] = None,
    book: Annotated[Book | None, typer.Option("--book", help="With --compare: replaces weights.book.")] = None,
    profile: ProfileOption = None,
) -> None:
    """Show the weights of a month, or with `--compare` the weights of several optimisers. Writes nothing.

    The comparison uses the stored candidates, forecasts and prices. It shows for every optimiser the risk by the
    covariance of the settings (`weights.covariance`) and its distribution over the names, the turnover against the
    stored weights of the month before, and the return until the next decision, if those prices are stored.

    Examples:

        quant weights --sector healthcare --month 2024-06

        quant weights -s it -m 2024-06 --compare

        quant weights -s it --compare --book dollar_neutral

        quant weights -s it --compare --method equal --method mean_cvar
    """
    if not compare and (method or book):
        raise UsageError("--method and --book need --compare; add it")
    session = Session(profile)
    chosen = session.months(month, month)[1]
    from quant_assets.cli.weights import compared, output

    read = "candidates" if compare else "weights"
    names = session.sectors(sector) if sector else session.sectors_with(read, chosen)
    parts = (
        compared(session.profile, name, chosen, method or [], book)
        if compare
        else output(session.profile, name, chosen)
        for name in names
    )
    for part in merged(chain.from_iterable(parts)):
        show(part)
