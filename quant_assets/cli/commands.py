"""The arguments, options and help of the commands of `quant`.

A command imports its body when it is called, so that help and usage errors are fast, and after it has made the
session, so that an unknown profile is reported at once.
"""

import os
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from quant_assets import __version__
from quant_assets.cli.screen import console, merged, show
from quant_assets.cli.session import Session
from quant_assets.errors import UsageError
from quant_assets.settings.loading import load_settings
from quant_assets.settings.origin import conf_dir
from quant_assets.settings.sectors import SECTORS

app = typer.Typer(
    help="Stock selection and forecasting by sector and month: run the pipeline, show the picks and the stored data.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _profiles(incomplete: str) -> list[str]:
    """Names of profiles for shell completion."""
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


def _sector_option(default: str) -> Any:
    """The option `--sector`; `default` is for the help."""
    return typer.Option(
        "--sector",
        "-s",
        help=f"Sector slug; comma-separated or repeated [default: {default}].",
        autocompletion=lambda incomplete: [name for name in SECTORS if name.startswith(incomplete)],
    )


SectorOption = Annotated[list[str] | None, _sector_option("all eleven")]
FromOption = Annotated[str | None, typer.Option("--from", help="First month, YYYY-MM [default: the --to month].")]
ToOption = Annotated[str | None, typer.Option("--to", help="Last month, YYYY-MM [default: the newest month].")]


def _version(requested: bool) -> None:
    if requested:
        typer.echo(f"quant-assets {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of `quant` itself; `app` has its help text."""


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
        typer.Option("--workers", "-w", min=1, help="Sectors computed in parallel.", show_default="number of cores"),
    ] = os.cpu_count() or 1,
    memory: Annotated[
        float | None,
        typer.Option("--memory", help="GiB for all workers [default: launch.memory_gib, else the free memory]."),
    ] = None,
    refresh: Annotated[
        bool,
        typer.Option(
            "--refresh",
            help="Recompute earlier months made with other code or settings, and what reads them.",
        ),
    ] = False,
    submit: Annotated[
        bool,
        typer.Option(
            "--submit", help="Let the daemon of the instance (make ui) execute the runs, and follow them from here."
        ),
    ] = False,
    may_be_empty: Annotated[
        bool, typer.Option("--may-be-empty", help="Accept a run that leaves no row in the selected partitions.")
    ] = False,
    profile: ProfileOption = None,
) -> None:
    """Materialise assets for sectors and months; adds missing earlier months that windows need.

    Earlier months that were made with other code or settings are used as they are, and listed; `--refresh` recomputes
    them. With `--submit` the runs wait in the queue of the Dagster instance. The daemon that `make ui` starts executes
    them, with the settings it was started with.

    Examples:

        quant run --sector healthcare --from 2024-01 --to 2024-12

        quant run -p files -s it -s healthcare --from 2015-01 --to 2016-12

        quant run --sector energy --to 2024-06 --select 'group:signals'

        quant run --from 2024-01 --submit
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

    names = session.sectors(sector) if sector else session.sectors_with("candidates", chosen)
    for part in output(session.profile, names, chosen):
        show(part)


@app.command()
def candidates(
    sector: SectorOption = None,
    month: Annotated[
        str | None, typer.Option("--month", "-m", help="Month, YYYY-MM [default: --from and --to].")
    ] = None,
    first: FromOption = None,
    last: ToOption = None,
    compare: Annotated[bool, typer.Option("--compare", help="Show two selections side by side.")] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option("--with", help="Select from the stored indicators with candidates.NAME=VALUE; may be repeated."),
    ] = None,
    export: Annotated[
        str | None,
        typer.Option("--export", help="Write Parquet and JSON of each sector into year=YYYY/month=M of this folder."),
    ] = None,
    profile: ProfileOption = None,
) -> None:
    """Show candidates, compare selections under changed settings, or export them; the storage does not change.

    `--compare` compares the stored candidates with the selection under the present settings; with `--with` it compares
    the present settings with the changed ones.

    Examples:

        quant candidates --sector healthcare --month 2024-06

        quant candidates -s it --compare --with candidates.momentum_weight=0.6

        quant candidates --from 2024-01 --compare

        quant candidates -s it --from 2024-01 --to 2024-06 --export exported
    """
    if month is not None and (first is not None or last is not None):
        raise UsageError("--month is one month, --from and --to are a range; give only one of the two")
    session = Session(profile)
    months = session.months(month or first, month or last)
    from quant_assets.cli.candidates import Shown, output

    read = "indicators" if changes else "candidates"
    chosen = session.sectors(sector) if sector else session.sectors_with(read, months[1])
    for part in output(Shown(session.profile, chosen, *months), changes or [], comparing=compare, export=export):
        show(part)


@app.command()
def known(
    dataset: Annotated[
        str, typer.Argument(help="Dataset whose rows have versions: fundamentals, macro, labels or delistings.")
    ],
    as_of: Annotated[str, typer.Option("--as-of", help="Day, YYYY-MM-DD: show what was known at its close.")],
    sector: SectorOption = None,
    ticker: Annotated[
        list[str] | None, typer.Option("--ticker", "-t", help="Ticker; may be repeated [default: all].")
    ] = None,
    newest: Annotated[bool, typer.Option("--newest", help="Only the newest period of each ticker or series.")] = False,
    profile: ProfileOption = None,
) -> None:
    """Show what was known at the close of a day: the version of each period that was valid then, from stored months.

    Rows of other datasets, such as prices, have one version: `quant show`.

    Examples:

        quant known fundamentals --sector it --as-of 2024-06-28 --ticker TEC01

        quant known macro --as-of 2024-06-28 --newest
    """
    session = Session(profile)
    from quant_assets.cli.known import output, rows_known

    try:
        day = date.fromisoformat(as_of)
    except ValueError:
        raise UsageError(f"--as-of {as_of} is not a day; write it as YYYY-MM-DD, for example 2016-06-30") from None
    chosen = session.sectors(sector) if sector else []
    for part in output(
        rows_known(session.profile, dataset, chosen, day, ticker or [], only_newest=newest), dataset, day
    ):
        show(part)


audit_app = typer.Typer(
    help="Test that no asset uses data from the future.", no_args_is_help=True, rich_markup_mode="markdown"
)
app.add_typer(audit_app, name="audit")


@audit_app.command()
def lookahead(
    sector: Annotated[list[str] | None, _sector_option("the smallest; all eleven with --full")] = None,
    first: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="First month, YYYY-MM [default: two years up to --to; the first of the profile with --full].",
        ),
    ] = None,
    last: ToOption = None,
    asset: Annotated[
        list[str] | None,
        typer.Option(
            "--asset", "-a", help="Only this asset and what it reads; comma-separated or repeated [default: all]."
        ),
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full/--quick", help="Every month and sector, cut every 13 months; or the last two years of one sector."
        ),
    ] = False,
    json: Annotated[Path | None, typer.Option("--json", help="Write every comparison into this file.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page of all failures into this file.")] = None,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", help="Save finished sectors in this folder, and reuse those that are saved there."),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", "-w", min=1, help="Parallel processes.", show_default="number of cores")
    ] = os.cpu_count() or 1,
    profile: ProfileOption = None,
) -> None:
    """Recompute the graph on altered inputs: results known by a day must not depend on later data.

    The inputs are cut off at several days, replaced by random values after them, published later, shuffled, shortened,
    and given without one ticker. For every difference the audit finds the input that causes it. Everything runs in a
    temporary folder; the storage does not change. The last line gives the verdict and what was not tested. The exit
    status is 0 if everything selected was tested and nothing differs; parts that no such audit can test are listed.

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
    names = [name.strip() for value in asset or () for name in value.split(",")]
    chosen = chosen_parts(session.profile, session.sectors(sector) if sector else [], first, last, names, full=full)
    with Steps() as steps:
        result = audit_parts(chosen, workers, steps.advance, Kept(keep, session.profile) if keep else None)
    for line in write(result, json, html, session.settings):
        show(line)
    for part in output(result):
        show(part)
    if result.status:
        raise typer.Exit(result.status)


@app.command()
def trials(
    sector: SectorOption = None,
    month: Annotated[
        str | None, typer.Option("--month", "-m", help="Trials up to its end, YYYY-MM [default: the newest month].")
    ] = None,
    profile: ProfileOption = None,
) -> None:
    """Show every set of settings that was trained or back-tested, with Sharpe ratio and rank IC.

    The sets are listed by sector and for the total portfolio. Their number and the variance of their Sharpe ratios
    enter the deflated Sharpe ratio in reports and backtests.

    Examples:

        quant trials --sector healthcare

        quant trials --profile files --sector it --month 2016-06
    """
    session = Session(profile)
    from quant_assets.cli.trials import output
    from quant_assets.trial_log import PORTFOLIO

    chosen = session.sectors(sector) if sector else [*SECTORS, PORTFOLIO]
    for part in output(session.profile, chosen, session.months(month, month)[1]):
        show(part)


@app.command()
def status(
    sector: SectorOption = None,
    report: Annotated[
        bool, typer.Option("--report", help="Report stored partitions to the Dagster instance that it does not know.")
    ] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Make the instance forget partitions that are not stored; runs stay.")
    ] = False,
    profile: ProfileOption = None,
) -> None:
    """Show which partitions exist, by asset and sector, and how many are missing between the first and last month.

    Then it shows stored partitions that the Dagster instance (the web UI) does not know, and partitions that the
    instance lists but that are not stored. The storage does not change.

    Examples:

        quant status

        quant status --profile files --sector healthcare

        quant status --report --forget
    """
    session = Session(profile)
    from quant_assets.cli.status import output

    for part in output(session, session.sectors(sector), reporting=report, forgetting=forget):
        show(part)


@app.command()
def stale(sector: SectorOption = None, profile: ProfileOption = None) -> None:
    """Show which stored months are out of date, and why: changed code, settings, inputs or files.

    Examples:

        quant stale

        quant stale --profile files --sector healthcare
    """
    session = Session(profile)
    from quant_assets.cli.stale import output

    for part in output(session.profile, session.sectors(sector)):
        show(part)


@app.command()
def repro(
    partition: Annotated[
        str,
        typer.Option("--partition", help="Partition, such as '2024-06|healthcare', or 2024-06 across sectors."),
    ],
    asset: Annotated[str, typer.Option("--asset", "-a", help="Asset, such as weights.")],
    keep: Annotated[bool, typer.Option("--keep", help="Keep the recomputed partitions for inspection.")] = False,
    profile: ProfileOption = None,
) -> None:
    """Recompute a partition and its upstream partitions with the recorded settings, and compare the hashes of the rows.

    The storage does not change. The exit status is 1 if rows differ; the table says why, or that they are not
    reproducible.

    Examples:

        quant repro --partition '2024-06|healthcare' --asset weights

        quant repro --partition '2024-06|it' --asset predictions --keep
    """
    session = Session(profile)
    from quant_assets.audit.reproduction import recompute
    from quant_assets.cli.repro import output
    from quant_assets.running.bookkeeping import prepare_bulk_runs

    prepare_bulk_runs()
    result = recompute(session.profile, asset, partition, keep=keep)
    for part in output(result):
        show(part)
    if not result.reproduced:
        raise typer.Exit(1)


@app.command()
def features(
    only: Annotated[
        str | None, typer.Option("--set", help="A ready-made set, your own module, or 'indicators' [default: all].")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    profile: ProfileOption = None,
) -> None:
    """Show every declared indicator and feature: inputs, lookback in sessions, unit, lag, meaning and source.

    Examples:

        quant features --set core

        quant features --profile files --markdown
    """
    from quant_assets.cli.features import as_markdown, documented, output

    lines = documented(load_settings(profile), only)
    for part in [as_markdown(lines)] if markdown else output(lines):
        show(part)


files_app = typer.Typer(
    help="Inspect your own data files, and write a profile that reads them.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.add_typer(files_app, name="files")


@files_app.command()
def check(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="FOLDER", help="The folder that holds the files [default: that of --profile]."),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            "-p",
            help="Read the files by the mapping of this profile [default: propose one].",
            autocompletion=_profiles,
        ),
    ] = None,
) -> None:
    """Propose how to read the files of a folder: kind, columns, formats and price adjustment, with evidence.

    Shows ten parsed rows of every file, and counts the rows that would be refused, by reason. Writes nothing. With
    `--profile` the files are read by the profile's mapping instead. The exit status is 1 if a file cannot be read.

    Examples:

        quant files check ~/data/stooq

        quant files check downloads

        quant files check -p stooq
    """
    from quant_assets.cli.files import checked, checked_by

    if profile is not None:
        parts = checked_by(Session(profile).profile, folder)
    elif folder is not None:
        parts = checked(folder)
    else:
        raise UsageError("give the FOLDER that holds the files, or --profile to check those of a profile")
    for part in parts:
        show(part)


@files_app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder that holds the files.")],
    name: Annotated[str, typer.Option("--name", "-n", help="Name of the profile.")] = "mine",
) -> None:
    """Write a short profile that reads the files of a folder. An existing profile is not changed.

    Examples:

        quant files init ~/data/stooq --name stooq

        quant files init downloads
    """
    from quant_assets.cli.files import write

    for part in write(folder, name):
        show(part)


@files_app.command("import-yf")
def import_yf(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File written by to_csv() or to_parquet().")],
    out: Annotated[Path, typer.Option("--out", help="Price file to write.")] = Path("bars.parquet"),
    ticker: Annotated[str | None, typer.Option("--ticker", help="Ticker of a frame that names none.")] = None,
) -> None:
    """Check a frame of yfinance.download and write it as a price file, one row per ticker and day.

    Examples:

        quant files import-yf download.csv --out data/bars.parquet

        quant files import-yf aapl.parquet --ticker AAPL
    """
    from quant_assets.cli.files import imported

    for part in imported(file, out, ticker):
        show(part)


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
    """Show how well factors (features, candidate scores, models) predicted up to a month, and the path of the plots.

    Examples:

        quant factors --sector healthcare --month 2024-06

        quant factors -s it --factor momentum_12_1
    """
    session = Session(profile)
    chosen = session.months(month, month)[1]
    from quant_assets.cli.factors import output

    names = session.sectors(sector) if sector else session.sectors_with("factor_tear_sheet", chosen)
    for part in merged(part for name in names for part in output(session.profile, name, chosen, factor, horizon)):
        show(part)


@app.command()
def demo(
    workers: Annotated[
        int,
        typer.Option("--workers", "-w", min=1, help="Sectors computed in parallel.", show_default="number of cores"),
    ] = os.cpu_count() or 1,
) -> None:
    """Run every asset of two sectors over the last three years of the simulated market; show the picks and the report.

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
    for part in output(session.profile, chosen, last):
        show(part)
    for line in following(session.profile, chosen, last):
        show(line)
    console.print("also: [bold]make ui[/] opens the web UI, [bold]quant --help[/] lists the commands")
