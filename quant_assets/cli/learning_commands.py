"""The arguments, options and help of the commands about models."""

from pathlib import Path
from typing import Annotated

import typer

from quant_assets.cli.commands import FromOption, ProfileOption, SectorOption, ToOption, app
from quant_assets.cli.screen import show
from quant_assets.cli.session import Session

HorizonOption = Annotated[int | None, typer.Option("--horizon", help="Sessions ahead [default: weights.horizon].")]
OneSectorOption = Annotated[str, typer.Option("--sector", "-s", help="Sector slug.")]
TopOption = Annotated[int, typer.Option("--top-n", "-n", help="Most names to pick.")]
TypeOption = Annotated[
    str,
    typer.Option(
        "--candidate-type",
        "-t",
        help="Candidates to pick from: long (highest scores), short (lowest), or both (highest).",
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Name in `models` of the settings, or ensemble "
        "[default: the sector's champion on the day of the decision, else the model of the weights].",
    ),
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
    """Score a month's candidates with a model at the decision (the close of its last session), and pick the best.

    The model is the newest checkpoint of an earlier month; without a usable one the selection score decides, and the
    output says so. If a side has few candidates, the next names by selection score are added.

    Examples:

        quant predict --sector healthcare --year 2024 --month 6 --top-n 10

        quant predict -s it -y 2024 -m 6 --candidate-type both --no-save
    """
    session = Session(profile)
    from quant_assets.cli.predict import candidate_type, month_of_numbers, output

    options = month_of_numbers(year, month), top_n, candidate_type(kind), model
    for part in output(session.profile, session.sectors([sector])[0], *options, save=save):
        show(part)


@app.command()
def batch_predict(
    sector: OneSectorOption,
    start_year: Annotated[int, typer.Option("--start-year", help="Year of the first month.")],
    start_month: Annotated[int, typer.Option("--start-month", help="First month, 1 to 12.")] = 1,
    end_year: Annotated[
        int | None, typer.Option("--end-year", help="Year of the last month [default: --start-year].")
    ] = None,
    end_month: Annotated[int, typer.Option("--end-month", help="Last month, 1 to 12.")] = 12,
    top_n: TopOption = 10,
    kind: TypeOption = "long",
    model: ModelOption = None,
    profile: ProfileOption = None,
) -> None:
    """Pick the best candidates of every month of a range: one JSON file per month and one CSV file.

    A month that fails is reported and the other months continue; the exit status is 1 then.

    Examples:

        quant batch-predict --sector it --start-year 2024 --end-month 6

        quant batch-predict -s healthcare --start-year 2023 --end-year 2024 -n 5
    """
    session = Session(profile)
    from quant_assets.cli.predict import batch, candidate_type, month_of_numbers

    first = month_of_numbers(start_year, start_month)
    last = month_of_numbers(start_year if end_year is None else end_year, end_month)
    session.profile.check_months(first, last)
    options = first, last, top_n, candidate_type(kind), model
    for part in batch(session.profile, session.sectors([sector])[0], *options):
        show(part)


models_app = typer.Typer(
    help="List, verify, register, promote and compare models.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.add_typer(models_app, name="models")

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="Name in `models`, or NAME@VERSION.")]


@models_app.command("list")
def list_models(sector: SectorOption = None, profile: ProfileOption = None) -> None:
    """Show the newest checkpoint of each model by sector, the champion, and the registered versions.

    Example:

        quant models list --sector it
    """
    session = Session(profile)
    from quant_assets.cli.models import listed

    for part in listed(session.profile, session.sectors(sector)):
        show(part)


@models_app.command("show")
def show_model(model: ModelArgument, sector: SectorOption = None, profile: ProfileOption = None) -> None:
    """Show every training of a model with its metrics on the test folds, or the manifest of a registered version.

    Examples:

        quant models show lightgbm --sector it

        quant models show mine@0123456789ab
    """
    session = Session(profile)
    from quant_assets.cli.models import shown

    for part in shown(session.profile, model, session.sectors(sector)):
        show(part)


@models_app.command()
def verify(
    model: Annotated[list[str] | None, typer.Argument(metavar="MODEL", help="Models [default: all].")] = None,
    sector: SectorOption = None,
    profile: ProfileOption = None,
) -> None:
    """Compare the files of models with their recorded hashes; the exit status is 1 if one differs.

    No model is loaded.

    Examples:

        quant models verify

        quant models verify lightgbm --sector it
    """
    session = Session(profile)
    from quant_assets.cli.models import verification

    for part in verification(session.profile, model or [], session.sectors(sector)):
        show(part)


@models_app.command()
def register(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the model.")],
    path: Annotated[
        Path | None, typer.Option("--path", help="A model's file, or a folder with SHA256SUMS [default: a checkpoint].")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="Kind of the model in the file [default: from manifest.json].")
    ] = None,
    horizon: HorizonOption = None,
    sector: Annotated[
        str | None,
        typer.Option(
            "--sector",
            "-s",
            help="Sector whose newest checkpoint is registered, or sector of the file's model.",
        ),
    ] = None,
    trained_until: Annotated[
        str | None,
        typer.Option(
            "--trained-until",
            help="Last day, YYYY-MM-DD, of the data the model was trained on [default: from manifest.json].",
        ),
    ] = None,
    profile: ProfileOption = None,
) -> None:
    """Store a model as an immutable version, named by its content hash; QUANT_MODEL_KEY signs its manifest.

    Examples:

        quant models register lightgbm --sector it

        quant models register mine --path model/model.txt --kind lightgbm
    """
    session = Session(profile)
    from quant_assets.cli.models import registered

    one = None if sector is None else session.sectors([sector])[0]
    for part in registered(session.profile, name, path, kind, horizon, one, trained_until):
        show(part)


@models_app.command()
def promote(
    model: ModelArgument,
    sector: SectorOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Promote even if it does not beat the baseline or its IC is implausible.")
    ] = False,
    profile: ProfileOption = None,
) -> None:
    """Make a model the champion, which `quant predict` uses; its files are verified first.

    Its newest checkpoint must beat the linear baseline out of sample, with a plausible IC (promotion.max_daily_ic); a
    version is judged by the checkpoint with the same content. The weights of the graph use the setting weights.model.

    Examples:

        quant models promote ensemble --sector it

        quant models promote lightgbm@0123456789ab --sector it
    """
    session = Session(profile)
    from quant_assets.cli.models import promoted

    for part in promoted(session.profile, model, session.sectors(sector), force=force):
        show(part)


@models_app.command("roll-back")
def roll_back(sector: SectorOption = None, profile: ProfileOption = None) -> None:
    """Make the previous champion the champion again.

    Example:

        quant models roll-back --sector it
    """
    session = Session(profile)
    from quant_assets.cli.models import rolled_back

    for part in rolled_back(session.profile, session.sectors(sector)):
        show(part)


@models_app.command("compare")
def compare_models(
    challenger: Annotated[str, typer.Argument(metavar="MODEL", help="Challenger: a name in `models`, or ensemble.")],
    sector: OneSectorOption,
    champion: Annotated[
        str | None, typer.Option("--against", help="The other model [default: the sector's champion].")
    ] = None,
    first: FromOption = None,
    last: ToOption = None,
    horizon: HorizonOption = None,
    profile: ProfileOption = None,
) -> None:
    """Compare the stored forecasts of two models: IC, spread, turnover, and the standard error of the difference.

    Examples:

        quant models compare ensemble -s it --from 2024-01 --to 2024-06

        quant models compare linear --against lightgbm -s it --from 2024-01
    """
    session = Session(profile)
    from quant_assets.cli.models import comparison

    months, one = session.months(first, last), session.sectors([sector])[0]
    for part in comparison(session.profile, challenger, champion, one, *months, horizon):
        show(part)


TickersOption = Annotated[
    list[str] | None, typer.Option("--tickers", help="Tickers, comma-separated or repeated [default: all stored].")
]
StartOption = Annotated[str | None, typer.Option("--start", help="First day, YYYY-MM-DD [default: the first stored].")]
EndOption = Annotated[str | None, typer.Option("--end", help="Last day, YYYY-MM-DD [default: the last stored].")]
OutputOption = Annotated[Path, typer.Option("--output-dir", help="Folder to write into.")]


@app.command()
def label(
    tickers: TickersOption = None,
    start: StartOption = None,
    end: EndOption = None,
    horizon: Annotated[int, typer.Option("--horizon", help="Sessions ahead, one of labels.horizons.")] = 1,
    output_dir: OutputOption = Path("exported"),
    profile: ProfileOption = None,
) -> None:
    """Write stored labels (forward returns) of tickers and days as Parquet, as far as known on the last day.

    Examples:

        quant label --tickers HLT01,HLT02 --start 2023-01-01 --end 2023-12-29

        quant label --horizon 20 --output-dir labels
    """
    session = Session(profile)
    from quant_assets.cli.train import Span, labels

    for part in labels(session.profile, Span.of(tickers or [], start, end), horizon, output_dir):
        show(part)


@app.command()
def train(
    tickers: TickersOption = None,
    start: StartOption = None,
    end: EndOption = None,
    horizon: Annotated[int, typer.Option("--horizon", help="Sessions ahead, one of labels.horizons.")] = 1,
    kind: Annotated[str, typer.Option("--kind", help="Kind of model.")] = "lightgbm",
    n_splits: Annotated[int, typer.Option("--n-splits", help="Number of consecutive test windows.")] = 5,
    embargo_days: Annotated[int, typer.Option("--embargo-days", help="Sessions left out before a test window.")] = 2,
    test_size: Annotated[float, typer.Option("--test-size", help="Share of the sessions used for testing.")] = 0.2,
    n_estimators: Annotated[
        int | None, typer.Option("--n-estimators", help="Number of trees (lightgbm) [default: 100].")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Learning rate (lightgbm) [default: 0.05].")
    ] = None,
    num_leaves: Annotated[
        int | None, typer.Option("--num-leaves", help="Leaves of a tree (lightgbm) [default: 31].")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Random seed.")] = 42,
    output_dir: OutputOption = Path("exported/model"),
    profile: ProfileOption = None,
) -> None:
    """Train one model by walk-forward on stored features and labels; write model, metrics and feature importances.

    `quant run` trains the models of the graph, by sector and month.

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
    for part in training(
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
        show(part)


@app.command()
def infer(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="Folder written by quant train, or a name in `models`."),
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
    """Forecast one session with a model and upsert into the table `preds` (ticker, dt, horizon, model) of a database.

    Examples:

        quant infer exported/model --date 2024-06-28

        quant infer lightgbm --tickers HLT01,HLT02 --database duckdb:///preds.duckdb
    """
    session = Session(profile)
    from quant_assets.cli.train import inference, separated

    for part in inference(session.profile, model, separated(tickers or []), on, horizon, database):
        show(part)
