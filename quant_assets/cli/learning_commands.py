"""What each command of `quant` about models takes, with its help; the commands of all else are in `commands`."""

from pathlib import Path
from typing import Annotated

import typer

from quant_assets.cli.commands import FromOption, ProfileOption, SectorOption, ToOption, app
from quant_assets.cli.screen import show
from quant_assets.cli.session import Session

HorizonOption = Annotated[int | None, typer.Option("--horizon", help="Sessions ahead [default: weights.horizon].")]
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
    str | None,
    typer.Option("--model", help="Name in `models` of the settings, or ensemble [default: that of the weights]."),
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


models_app = typer.Typer(
    help="Which models there are, whether their files are whole, and whose forecasts picks follow.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.add_typer(models_app, name="models")

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="One of `models`, or NAME@VERSION.")]


@models_app.command("list")
def list_models(sector: SectorOption = None, profile: ProfileOption = None) -> None:
    """Show the newest checkpoint of each model by sector, the champion, and the registered versions.

    Example:

        quant models list --sector it
    """
    session = Session(profile)
    from quant_assets.cli.models import listed

    for each in listed(session.profile, session.sectors(sector)):
        show(each)


@models_app.command("show")
def show_model(model: ModelArgument, sector: SectorOption = None, profile: ProfileOption = None) -> None:
    """Show every training of a model with its metrics on the test folds, or the manifest of a registered version.

    Examples:

        quant models show lightgbm --sector it

        quant models show mine@0123456789ab
    """
    session = Session(profile)
    from quant_assets.cli.models import shown

    for each in shown(session.profile, model, session.sectors(sector)):
        show(each)


@models_app.command()
def verify(
    model: Annotated[list[str] | None, typer.Argument(metavar="MODEL", help="Models [default: all].")] = None,
    sector: SectorOption = None,
    profile: ProfileOption = None,
) -> None:
    """Hold every model's files against the hashes that are recorded for them; exit status 1 where one differs.

    Nothing is loaded from the files.

    Examples:

        quant models verify

        quant models verify lightgbm --sector it
    """
    session = Session(profile)
    from quant_assets.cli.models import verification

    for each in verification(session.profile, model or [], session.sectors(sector)):
        show(each)


@models_app.command()
def register(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the model.")],
    path: Annotated[
        Path | None, typer.Option("--path", help="A model's file, or a folder with SHA256SUMS [default: a checkpoint].")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="Kind of the file's model [default: its manifest.json's].")
    ] = None,
    horizon: HorizonOption = None,
    sector: Annotated[
        str | None,
        typer.Option(
            "--sector", "-s", help="Sector whose newest checkpoint is registered, or that the file's model is of."
        ),
    ] = None,
    trained_until: Annotated[
        str | None,
        typer.Option(
            "--trained-until",
            help="Last day, YYYY-MM-DD, of which the file's model may know anything [default: its manifest.json's].",
        ),
    ] = None,
    profile: ProfileOption = None,
) -> None:
    """Keep a model as a version that never changes, named by its content; its manifest is signed with QUANT_MODEL_KEY.

    Examples:

        quant models register lightgbm --sector it

        quant models register mine --path model/model.txt --kind lightgbm
    """
    session = Session(profile)
    from quant_assets.cli.models import registered

    one = None if sector is None else session.sectors([sector])[0]
    for each in registered(session.profile, name, path, kind, horizon, one, trained_until):
        show(each)


@models_app.command()
def promote(
    model: ModelArgument,
    sector: SectorOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also one that does not beat the baseline, or is too good to be true.")
    ] = False,
    profile: ProfileOption = None,
) -> None:
    """Make a model the champion, whom `quant predict` follows; its files are verified first.

    Its newest checkpoint must beat the linear baseline out of sample, with a plausible IC (promotion.max_daily_ic); a
    version is judged by the checkpoint of its content. The weights of the graph follow the setting weights.model.

    Examples:

        quant models promote ensemble --sector it

        quant models promote lightgbm@0123456789ab --sector it
    """
    session = Session(profile)
    from quant_assets.cli.models import promoted

    for each in promoted(session.profile, model, session.sectors(sector), force=force):
        show(each)


@models_app.command("roll-back")
def roll_back(sector: SectorOption = None, profile: ProfileOption = None) -> None:
    """Make the champion before the present one the champion again.

    Example:

        quant models roll-back --sector it
    """
    session = Session(profile)
    from quant_assets.cli.models import rolled_back

    for each in rolled_back(session.profile, session.sectors(sector)):
        show(each)


@models_app.command("compare")
def compare_models(
    challenger: Annotated[str, typer.Argument(metavar="MODEL", help="The challenger: one of `models`, or ensemble.")],
    sector: OneSectorOption,
    champion: Annotated[
        str | None, typer.Option("--against", help="The other model [default: the sector's champion].")
    ] = None,
    first: FromOption = None,
    last: ToOption = None,
    horizon: HorizonOption = None,
    profile: ProfileOption = None,
) -> None:
    """Compare two models' stored forecasts: IC, spread, turnover, and the error of their difference.

    Examples:

        quant models compare ensemble -s it --from 2024-01 --to 2024-06

        quant models compare linear --against lightgbm -s it --from 2024-01
    """
    session = Session(profile)
    from quant_assets.cli.models import comparison

    months, one = session.months(first, last), session.sectors([sector])[0]
    for each in comparison(session.profile, challenger, champion, one, *months, horizon):
        show(each)


TickersOption = Annotated[
    list[str] | None, typer.Option("--tickers", help="Tickers, by commas or repeated [default: all that are stored].")
]
StartOption = Annotated[str | None, typer.Option("--start", help="First day, YYYY-MM-DD [default: the first stored].")]
EndOption = Annotated[str | None, typer.Option("--end", help="Last day, YYYY-MM-DD [default: the last stored].")]
OutputOption = Annotated[Path, typer.Option("--output-dir", help="Folder of what is written.")]


@app.command()
def label(
    tickers: TickersOption = None,
    start: StartOption = None,
    end: EndOption = None,
    horizon: Annotated[int, typer.Option("--horizon", help="Sessions ahead, one of labels.horizons.")] = 1,
    output_dir: OutputOption = Path("exported"),
    profile: ProfileOption = None,
) -> None:
    """Write the stored labels (forward returns) of tickers and days that are known at the last day, as Parquet.

    Examples:

        quant label --tickers HLT01,HLT02 --start 2023-01-01 --end 2023-12-29

        quant label --horizon 20 --output-dir labels
    """
    session = Session(profile)
    from quant_assets.cli.train import Span, labels

    for each in labels(session.profile, Span.of(tickers or [], start, end), horizon, output_dir):
        show(each)


@app.command()
def train(
    tickers: TickersOption = None,
    start: StartOption = None,
    end: EndOption = None,
    horizon: Annotated[int, typer.Option("--horizon", help="Sessions ahead, one of labels.horizons.")] = 1,
    kind: Annotated[str, typer.Option("--kind", help="Kind of model.")] = "lightgbm",
    n_splits: Annotated[int, typer.Option("--n-splits", help="Test windows, one after the other.")] = 5,
    embargo_days: Annotated[int, typer.Option("--embargo-days", help="Sessions left free before a test window.")] = 2,
    test_size: Annotated[float, typer.Option("--test-size", help="Share of the sessions that are tested.")] = 0.2,
    n_estimators: Annotated[
        int | None, typer.Option("--n-estimators", help="Trees at most (lightgbm) [default: 100].")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Of trees (lightgbm) [default: 0.05].")
    ] = None,
    num_leaves: Annotated[int | None, typer.Option("--num-leaves", help="Of a tree (lightgbm) [default: 31].")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of every random draw.")] = 42,
    output_dir: OutputOption = Path("exported/model"),
    profile: ProfileOption = None,
) -> None:
    """Train one model by walk-forward over stored features and labels; model, metrics and importances become files.

    The graph's own trainings, by sector and month, are those of `quant run`.

    Examples:

        quant train --start 2021-01-01 --end 2023-12-29 --horizon 5

        quant train --tickers HLT01,HLT02,HLT03 --n-splits 3 --embargo-days 5
    """
    session = Session(profile)
    from quant_assets.cli.train import Span, parameters_of_trees, training

    span, parameters = (
        Span.of(tickers or [], start, end),
        parameters_of_trees(n_estimators, learning_rate, num_leaves, kind),
    )
    for each in training(
        session.profile,
        span,
        horizon,
        kind,
        parameters,
        output_dir,
        n_splits=n_splits,
        embargo=embargo_days,
        test_size=test_size,
        seed=seed,
    ):
        show(each)


@app.command()
def infer(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A folder of quant train, or one of `models` of the settings.")
    ],
    tickers: TickersOption = None,
    on: Annotated[str | None, typer.Option("--date", help="Session, YYYY-MM-DD [default: the newest stored].")] = None,
    horizon: Annotated[int | None, typer.Option("--horizon", help="Sessions ahead [default: the model's].")] = None,
    database: Annotated[
        str | None,
        typer.Option("--database", help="duckdb:///FILE or postgresql://… [default: exports/predictions.duckdb]."),
    ] = None,
    profile: ProfileOption = None,
) -> None:
    """Forecast one session by a model and upsert into table `preds` (ticker, dt, horizon, model) of a database.

    Examples:

        quant infer exported/model --date 2024-06-28

        quant infer lightgbm --tickers HLT01,HLT02 --database duckdb:///preds.duckdb
    """
    session = Session(profile)
    from quant_assets.cli.train import inference, separated

    for each in inference(session.profile, model, separated(tickers or []), on, horizon, database):
        show(each)
