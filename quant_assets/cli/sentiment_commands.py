"""The arguments, options and help of the commands `quant sentiment`."""

from pathlib import Path
from typing import Annotated

import typer

from quant_assets.cli.commands import ProfileOption, app
from quant_assets.cli.screen import show

sentiment_app = typer.Typer(
    help="Train, try and evaluate sentiment scorers of news.", no_args_is_help=True, rich_markup_mode="markdown"
)
app.add_typer(sentiment_app, name="sentiment")

ScorerOption = Annotated[str, typer.Option("--scorer", help="Kind: tfidf, minilm, vader, external or finbert.")]
PathOption = Annotated[
    Path | None, typer.Option("--path", help="File (tfidf, minilm) or folder (external, finbert) of the scorer.")
]
ThroughOption = Annotated[
    str | None,
    typer.Option(
        "--trained-through",
        help="Last day of its training data, YYYY-MM-DD; not for tfidf and minilm, whose files contain it.",
    ),
]


@sentiment_app.command()
def train(
    texts: Annotated[Path, typer.Argument(help="Parquet or CSV with columns text, label and optionally dataset.")],
    out: Annotated[Path, typer.Option("--out", help="File to write.")],
    trained_through: Annotated[
        str, typer.Option("--trained-through", help="Last day on which a text or label was written, YYYY-MM-DD.")
    ],
    scorer: Annotated[str, typer.Option("--scorer", help="Kind: tfidf or minilm.")] = "tfidf",
) -> None:
    """Train a scorer on labelled texts (negative, neutral, positive), and print the settings that use it.

    Labelled headlines are seldom dated, so you give --trained-through; a day that is too early causes look-ahead bias.

    Examples:

        quant sentiment train texts.csv --out news.npz --trained-through 2022-12-31
    """
    from quant_assets.cli.sentiment import trained

    for line in trained(texts, scorer, trained_through, out):
        show(line)


@sentiment_app.command()
def score(
    texts: Annotated[list[str] | None, typer.Argument(help="Quoted texts.")] = None,
    scorer: Annotated[str | None, typer.Option("--scorer", help="Kind [default: the scorer of the profile].")] = None,
    path: PathOption = None,
    trained_through: ThroughOption = None,
    profile: ProfileOption = None,
) -> None:
    """Score texts with your own scorer, or with the scorer of a profile.

    Examples:

        quant sentiment score "Profit falls for a third year" --scorer vader

        quant sentiment score "Orders surge" --scorer tfidf --path news.npz
    """
    from quant_assets.cli.sentiment import scored

    for line in scored(texts or [], scorer, path, trained_through, profile):
        show(line)


@sentiment_app.command()
def evaluate(
    texts: Annotated[Path, typer.Argument(help="Parquet or CSV with columns text, label and optionally dataset.")],
    scorer: ScorerOption,
    path: PathOption = None,
    trained_through: ThroughOption = None,
) -> None:
    """Evaluate a scorer on labelled texts: accuracy, macro F1 and time; always the most common label is the baseline.

    Do not evaluate on its training texts; `python -m benchmarks.sentiment` separates the two. Also prints its hash.

    Examples:

        quant sentiment evaluate headlines.parquet --scorer finbert --path finbert/
    """
    from quant_assets.cli.sentiment import evaluated

    for line in evaluated(texts, scorer, path, trained_through):
        show(line)
