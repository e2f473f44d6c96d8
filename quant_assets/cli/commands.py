"""What each command of `quant` takes, with its help.

A command's body is imported when it is called, so that help and mistakes take no time, and after the session is
made, so that an unknown profile is told at once.
"""

import os
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from quant_assets import __version__
from quant_assets.cli.screen import console, show
from quant_assets.cli.session import Session
from quant_assets.errors import SettingsError
from quant_assets.settings.loading import load_settings
from quant_assets.settings.origin import conf_dir
from quant_assets.settings.sectors import SECTORS

app = typer.Typer(
    help="Stock selection and forecasting by sector and month: run the pipeline, look at picks and at what exists.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _profiles(incomplete: str) -> list[str]:
    """Names for the shell to complete."""
    return sorted(path.stem for path in (conf_dir() / "profiles").glob("*.yaml") if path.stem.startswith(incomplete))


ProfileOption = Annotated[
    str | None,
    typer.Option(
        "--profile",
        "-p",
        help="Profile in conf/profiles, such as demo or files [default: QUANT_PROFILE, else demo].",
        autocompletion=_profiles,
    ),
]
SectorOption = Annotated[
    list[str] | None,
    typer.Option(
        "--sector",
        "-s",
        help="Sector slug; several by commas or repeated [default: all eleven].",
        autocompletion=lambda incomplete: [name for name in SECTORS if name.startswith(incomplete)],
    ),
]
FromOption = Annotated[str | None, typer.Option("--from", help="First month, YYYY-MM [default: the --to month].")]
ToOption = Annotated[str | None, typer.Option("--to", help="Last month, YYYY-MM [default: the newest month].")]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"quant-assets {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of `quant` itself; its help is the application's."""


@app.command()
def run(
    sector: SectorOption = None,
    first: FromOption = None,
    last: ToOption = None,
    select: Annotated[
        str | None,
        typer.Option(
            "--select",
            help=(
                "Assets: 'ohlcv..labels', 'ohlcv,prices', or a Dagster selection such as 'group:signals' "
                "[default: every asset]."
            ),
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            "--workers", "-w", min=1, help="Sectors computed at the same time.", show_default="number of cores"
        ),
    ] = os.cpu_count() or 1,
    memory: Annotated[
        float | None,
        typer.Option("--memory", help="GiB for all of them together [default: launch.memory_gib, else what is left]."),
    ] = None,
    refresh: Annotated[
        bool,
        typer.Option(
            "--refresh", help="Compute earlier months again that other code or settings have made, and what reads them."
        ),
    ] = False,
    submit: Annotated[
        bool,
        typer.Option(
            "--submit", help="Have the runs executed by the instance's daemon (make ui) and follow them from here."
        ),
    ] = False,
    may_be_empty: Annotated[
        bool, typer.Option("--may-be-empty", help="A run without a row in all that was asked for is no error.")
    ] = False,
    profile: ProfileOption = None,
) -> None:
    """Materialise assets for sectors and months; earlier months that windows need are added where they are missing.

    Earlier months that other code or settings have made are used as they are, and named; `--refresh` computes them
    again. With `--submit` the runs wait in the queue of the Dagster instance, for the daemon that `make ui` starts, and
    are computed with the settings that the daemon was started with.

    Examples:

        quant run --sector healthcare --from 2024-01 --to 2024-12

        quant run -p files -s it -s healthcare --from 2015-01 --to 2016-12

        quant run --sector energy --to 2024-06 --select 'group:signals'

        quant run --from 2015-01 --submit
    """
    session = Session(profile)
    months, chosen = session.months(first, last), session.sectors(sector)
    from quant_assets.cli.run import materialise

    materialise(
        session.profile,
        chosen,
        *months,
        select=select,
        workers=workers,
        memory=memory,
        refresh=refresh,
        submit=submit,
        may_be_empty=may_be_empty,
    )
    from quant_assets.cli.summary import following

    for line in following(session.profile, chosen, months[1]):
        show(line)


@app.command()
def picks(
    sector: SectorOption = None,
    month: Annotated[
        str | None, typer.Option("--month", "-m", help="Month, YYYY-MM [default: the newest month].")
    ] = None,
    profile: ProfileOption = None,
) -> None:
    """Show the candidates and weights of a month.

    Examples:

        quant picks --sector healthcare --month 2024-06

        quant picks --profile files --sector it --month 2016-06
    """
    session = Session(profile)
    chosen = session.months(month, month)[1]
    from quant_assets.cli.picks import output

    for name in session.sectors(sector) if sector else session.sectors_with("candidates", chosen):
        for each in output(session.profile, name, chosen):
            show(each)


@app.command()
def candidates(
    sector: SectorOption = None,
    month: Annotated[
        str | None, typer.Option("--month", "-m", help="Month, YYYY-MM [default: --from and --to].")
    ] = None,
    first: FromOption = None,
    last: ToOption = None,
    compare: Annotated[bool, typer.Option("--compare", help="Two selections side by side.")] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option("--with", help="Select with candidates.NAME=VALUE from the stored indicators; may be repeated."),
    ] = None,
    export: Annotated[
        str | None,
        typer.Option(
            "--export", help="Write year=YYYY/month=M with Parquet and JSON for each sector into this folder."
        ),
    ] = None,
    profile: ProfileOption = None,
) -> None:
    """Show candidates, compare selections under changed settings, or export them; nothing in the storage changes.

    `--compare` alone sets the stored candidates against the selection under the present settings, with `--with` the
    present settings against changed ones.

    Examples:

        quant candidates --sector healthcare --month 2024-06

        quant candidates -s it --compare --with candidates.momentum_weight=0.6

        quant candidates --from 2024-01 --compare

        quant candidates -s it --from 2024-01 --to 2024-06 --export exported
    """
    if month is not None and (first is not None or last is not None):
        raise SettingsError("--month is one month and --from with --to a range; give one of the two")
    session = Session(profile)
    months = session.months(month or first, month or last)
    from quant_assets.cli.candidates import Shown, output

    read = "indicators" if changes else "candidates"
    chosen = session.sectors(sector) if sector else session.sectors_with(read, months[1])
    for each in output(Shown(session.profile, chosen, *months), changes or [], comparing=compare, export=export):
        show(each)


@app.command()
def known(
    dataset: Annotated[
        str, typer.Argument(help="Dataset with a column known_at: fundamentals, macro, labels or delistings.")
    ],
    as_of: Annotated[str, typer.Option("--as-of", help="Day of the question, YYYY-MM-DD.")],
    sector: SectorOption = None,
    ticker: Annotated[
        list[str] | None, typer.Option("--ticker", "-t", help="Ticker; may be repeated [default: all].")
    ] = None,
    newest: Annotated[bool, typer.Option("--newest", help="Of each ticker or series the newest period alone.")] = False,
    profile: ProfileOption = None,
) -> None:
    """Show what was known at a day: each period in the version that was in force at its close, from the stored months.

    Examples:

        quant known fundamentals --sector it --as-of 2016-06-30 --ticker AAPL

        quant known macro --as-of 2016-06-30 --newest
    """
    session = Session(profile)
    from quant_assets.cli.known import output, rows_known

    try:
        day = date.fromisoformat(as_of)
    except ValueError:
        raise SettingsError(f"--as-of {as_of} is not a day; write it as YYYY-MM-DD, for example 2016-06-30") from None
    chosen = session.sectors(sector) if sector else []
    for each in output(
        rows_known(session.profile, dataset, chosen, day, ticker or [], only_newest=newest), dataset, day
    ):
        show(each)


audit_app = typer.Typer(
    help="Prove that nothing of the graph uses the future.", no_args_is_help=True, rich_markup_mode="markdown"
)
app.add_typer(audit_app, name="audit")


@audit_app.command()
def lookahead(
    sector: SectorOption = None,
    first: FromOption = None,
    last: ToOption = None,
    asset: Annotated[
        list[str] | None,
        typer.Option("--asset", "-a", help="Only this asset and what it reads; may be repeated [default: all]."),
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full/--quick", help="Every month and sector at cuts 13 months apart, or one sector's last two years."
        ),
    ] = False,
    json: Annotated[Path | None, typer.Option("--json", help="Write every comparison into this file.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with each failure into this file.")] = None,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", help="Keep each finished sector in this folder, and take from it what is finished."),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", "-w", min=1, help="Processes at the same time.", show_default="number of cores")
    ] = os.cpu_count() or 1,
    profile: ProfileOption = None,
) -> None:
    """Compute the graph again on altered inputs: what was known by a day must not change with what came after it.

    The inputs are cut off at several days, replaced by random values after them, published later, shuffled, shortened,
    and without one ticker. Of what differs it is found out through which input alone. Everything runs in a temporary
    folder; the storage is not touched. The last line is the verdict and what was not tested. Exit status 0 where all
    that was asked for was tested and nothing differs; what no such audit can reach is said and changes nothing.

    Examples:

        quant audit lookahead

        quant audit lookahead -p files -s energy --from 2014-01 --to 2015-12

        quant audit lookahead --asset features --html audit.html

        quant audit lookahead --full --workers 8 --keep audited
    """
    session = Session(profile)
    from quant_assets.audit.kept import Kept
    from quant_assets.audit.parallel import audit_parts
    from quant_assets.cli.audit import Steps, chosen_parts, output, write
    from quant_assets.running.bookkeeping import prepare_bulk_runs

    prepare_bulk_runs()
    chosen = chosen_parts(
        session.profile, session.sectors(sector) if sector else [], first, last, asset or [], full=full
    )
    with Steps() as steps:
        result = audit_parts(chosen, workers, steps.advance, Kept(keep, session.profile) if keep else None)
    for line in write(result, json, html, session.settings):
        show(line)
    for each in output(result):
        show(each)
    if result.status:
        raise typer.Exit(result.status)


@app.command()
def trials(
    sector: SectorOption = None,
    month: Annotated[
        str | None, typer.Option("--month", "-m", help="Trials known at its end, YYYY-MM [default: the newest month].")
    ] = None,
    profile: ProfileOption = None,
) -> None:
    """Show every set of settings that was trained or back-tested, with Sharpe ratio and rank IC.

    The sets stand by sector and for the total portfolio. Their number and the variance of their Sharpe ratios are what
    the deflated Sharpe ratio in reports and backtests uses.

    Examples:

        quant trials --sector healthcare

        quant trials --profile files --sector it --month 2016-06
    """
    session = Session(profile)
    from quant_assets.cli.trials import output
    from quant_assets.trial_log import PORTFOLIO

    chosen = session.sectors(sector) if sector else [*SECTORS, PORTFOLIO]
    for each in output(session.profile, chosen, session.months(month, month)[1]):
        show(each)


@app.command()
def status(
    sector: SectorOption = None,
    report: Annotated[
        bool, typer.Option("--report", help="Tell the Dagster instance of stored partitions that it does not know.")
    ] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Make the instance forget partitions that are not stored; runs stay.")
    ] = False,
    profile: ProfileOption = None,
) -> None:
    """Show which partitions exist, by asset and sector, and how many are missing between the first and last month.

    Then those that are stored and that the Dagster instance (the web UI) does not know, and those that it lists and
    that are not stored. Nothing stored changes.

    Examples:

        quant status

        quant status --profile files --sector healthcare

        quant status --report --forget
    """
    session = Session(profile)
    from quant_assets.cli.status import output

    for each in output(session, session.sectors(sector), reporting=report, forgetting=forget):
        show(each)


@app.command()
def stale(sector: SectorOption = None, profile: ProfileOption = None) -> None:
    """Show which stored months would be computed otherwise today, and why: changed code, settings, inputs or files.

    Examples:

        quant stale

        quant stale --profile files --sector healthcare
    """
    session = Session(profile)
    from quant_assets.cli.stale import output

    for each in output(session.profile, session.sectors(sector)):
        show(each)


@app.command()
def repro(
    partition: Annotated[
        str, typer.Option("--partition", help="Partition such as '2016-06|healthcare', or 2016-06 across sectors.")
    ],
    asset: Annotated[str, typer.Option("--asset", "-a", help="Asset, such as weights.")],
    keep: Annotated[bool, typer.Option("--keep", help="Leave what was computed again for a look.")] = False,
    profile: ProfileOption = None,
) -> None:
    """Compute a partition and all that it follows from again, from the recorded settings, and compare the rows' hashes.

    Nothing stored changes. Exit status 1 where rows differ; the table says why, or that they are not reproducible.

    Examples:

        quant repro --partition '2024-06|healthcare' --asset weights

        quant repro --partition '2016-06|it' --asset predictions --keep
    """
    session = Session(profile)
    from quant_assets.audit.reproduction import recompute
    from quant_assets.cli.repro import output
    from quant_assets.running.bookkeeping import prepare_bulk_runs

    prepare_bulk_runs()
    found = recompute(session.profile, asset, partition, keep=keep)
    for each in output(found):
        show(each)
    if not found.reproduced:
        raise typer.Exit(1)


@app.command()
def features(
    only: Annotated[
        str | None, typer.Option("--set", help="One ready-made set, module of yours, or 'indicators' [default: all].")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    profile: ProfileOption = None,
) -> None:
    """Show every declared indicator and feature: inputs, lookback in sessions, unit, lag, meaning and source.

    Examples:

        quant features --set core

        quant features --profile files --markdown
    """
    from quant_assets.cli.features import as_markdown, as_table, documented

    lines = documented(load_settings(profile), only)
    if markdown:
        show(as_markdown(lines))
    elif console.is_terminal:
        console.print(as_table(lines))  # folded to the window
    else:
        show(as_table(lines))


files_app = typer.Typer(
    help="Look at files of your own, and write a profile that reads them.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.add_typer(files_app, name="files")

FolderArgument = Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder that holds the files.")]


@files_app.command()
def check(folder: FolderArgument) -> None:
    """Propose how the files of a folder are read: kind, columns, forms and what prices are adjusted for, with evidence.

    Of each file ten rows are shown as they are understood, and what would be refused is counted by reason. Nothing is
    written.

    Examples:

        quant files check ~/data/stooq

        quant files check downloads
    """
    from quant_assets.cli.files import checked

    for each in checked(folder):
        show(each)


@files_app.command()
def init(
    folder: FolderArgument,
    name: Annotated[str, typer.Option("--name", "-n", help="Name of the profile.")] = "mine",
) -> None:
    """Write a profile that reads the files of a folder. One that exists is not touched.

    Examples:

        quant files init ~/data/stooq --name stooq

        quant files init downloads
    """
    from quant_assets.cli.files import write

    for each in write(folder, name):
        show(each)


@files_app.command("import-yf")
def import_yf(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What to_csv() or to_parquet() of the frame wrote.")],
    out: Annotated[Path, typer.Option("--out", help="Price file to write.")] = Path("bars.parquet"),
    ticker: Annotated[str | None, typer.Option("--ticker", help="Of a frame that names none.")] = None,
) -> None:
    """Check a frame of yfinance.download and write it as a price file, a row for each ticker and day.

    Examples:

        quant files import-yf download.csv --out data/bars.parquet

        quant files import-yf aapl.parquet --ticker AAPL
    """
    from quant_assets.cli.files import imported

    for each in imported(file, out, ticker):
        show(each)


@app.command()
def factors(
    sector: SectorOption = None,
    month: Annotated[
        str | None, typer.Option("--month", "-m", help="Month, YYYY-MM [default: the newest month].")
    ] = None,
    factor: Annotated[
        str | None, typer.Option("--factor", "-f", help="One factor at every horizon [default: the strongest].")
    ] = None,
    horizon: Annotated[int | None, typer.Option("--horizon", help="Sessions ahead [default: weights.horizon].")] = None,
    profile: ProfileOption = None,
) -> None:
    """Show what factors (features, candidate scores, models) were worth up to a month, and where the page of plots is.

    Examples:

        quant factors --sector healthcare --month 2024-06

        quant factors -s it --factor momentum_12_1
    """
    session = Session(profile)
    chosen = session.months(month, month)[1]
    from quant_assets.cli.factors import output

    for name in session.sectors(sector) if sector else session.sectors_with("factor_tear_sheet", chosen):
        for each in output(session.profile, name, chosen, factor, horizon):
            show(each)


@app.command()
def demo(
    workers: Annotated[
        int, typer.Option("--workers", "-w", min=1, help="Sectors at the same time.", show_default="number of cores")
    ] = os.cpu_count() or 1,
) -> None:
    """Run every asset of two sectors over the last three years of the simulated market, then show picks and report.

    Example:

        quant demo
    """
    session = Session("demo")
    from quant_assets.cli.picks import output
    from quant_assets.cli.run import materialise
    from quant_assets.cli.summary import following
    from quant_assets.partitions import shift_month

    last = session.profile.last_month()
    chosen = ["healthcare", "it"]
    materialise(session.profile, chosen, shift_month(last, -35), last, select=None, workers=workers)
    for name in chosen:
        for each in output(session.profile, name, last):
            show(each)
    for line in following(session.profile, chosen, last):
        show(line)
    console.print("also: [bold]make ui[/] opens the web UI, [bold]quant --help[/] lists the commands")
