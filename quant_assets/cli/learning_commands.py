"""What each command of `quant` about models takes, with its help; the commands of all else are in `commands`."""

from typing import Annotated

import typer

from quant_assets.cli.commands import ProfileOption, app
from quant_assets.cli.screen import show
from quant_assets.cli.session import Session

OneSectorOption = Annotated[str, typer.Option("--sector", "-s", help="Sector slug.")]
TopOption = Annotated[int, typer.Option("--top-n", "-n", help="Names that are picked at most.")]
TypeOption = Annotated[
    str,
    typer.Option(
        "--candidate-type",
        "-t",
        help="Candidates to pick among: long (highest scores), short (lowest), or both sides' (highest).",
    ),
]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="Name in `models` of the settings [default: that of the weights].")
]


@app.command()
def predict(
    sector: OneSectorOption,
    year: Annotated[int, typer.Option("--year", "-y", help="Year of the decision.")],
    month: Annotated[int, typer.Option("--month", "-m", help="Month of the decision, 1 to 12.")],
    top_n: TopOption = 10,
    kind: TypeOption = "long",
    save: Annotated[
        bool, typer.Option("--save/--no-save", help="Write the JSON below exports/predictions of the storage.")
    ] = True,
    model: ModelOption = None,
    profile: ProfileOption = None,
) -> None:
    """Score a month's candidates by a model at the decision, the close of its last session, and pick the best.

    The model is the newest checkpoint of an earlier month; without a usable one the composite score decides, and the
    output says so. Where a side has few candidates, the next names by composite score join them.

    Examples:

        quant predict --sector healthcare --year 2024 --month 6 --top-n 10

        quant predict -s it -y 2024 -m 6 --candidate-type both --no-save
    """
    session = Session(profile)
    from quant_assets.cli.predict import candidate_type, month_of_numbers, output

    given = month_of_numbers(year, month), top_n, candidate_type(kind), model
    for each in output(session.profile, session.sectors([sector])[0], *given, save=save):
        show(each)


@app.command()
def batch_predict(
    sector: OneSectorOption,
    start_year: Annotated[int, typer.Option("--start-year", help="Year of the first month.")],
    start_month: Annotated[int, typer.Option("--start-month", help="First month, 1 to 12.")] = 1,
    end_year: Annotated[
        int | None, typer.Option("--end-year", help="Year of the last month [default: that of the first].")
    ] = None,
    end_month: Annotated[int, typer.Option("--end-month", help="Last month, 1 to 12.")] = 12,
    top_n: TopOption = 10,
    kind: TypeOption = "long",
    model: ModelOption = None,
    profile: ProfileOption = None,
) -> None:
    """Pick the best candidates of each month of a range: a JSON for each month and one CSV for all.

    A month that fails is reported and the rest go on; exit status 1 then.

    Examples:

        quant batch-predict --sector it --start-year 2024 --end-month 6

        quant batch-predict -s healthcare --start-year 2023 --end-year 2024 -n 5
    """
    session = Session(profile)
    from quant_assets.cli.predict import batch, candidate_type, month_of_numbers

    first = month_of_numbers(start_year, start_month)
    last = month_of_numbers(start_year if end_year is None else end_year, end_month)
    given = first, last, top_n, candidate_type(kind), model
    session.profile.check_months(first, last)
    for each in batch(session.profile, session.sectors([sector])[0], *given):
        show(each)
