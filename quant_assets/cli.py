"""The `quant` command: thin, over the same assets, store and plan as the web UI."""

import os
from datetime import date
from pathlib import Path
from typing import Annotated, Any, NoReturn

import polars as pl
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from quant_assets.errors import InterruptedRunError, MissingPartitionError, QuantError, SettingsError
from quant_assets.settings import SECTORS, load_settings

app = typer.Typer(
    help="Stock selection and forecasting by sector and month: run the pipeline, look at picks and at what exists.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)
console = Console()

ProfileOption = Annotated[
    str | None, typer.Option("--profile", "-p", help="Profile in conf/profiles, such as demo or files [default: QUANT_PROFILE, else demo].")
]
SectorOption = Annotated[
    list[str] | None, typer.Option("--sector", "-s", help="Sector slug; several by commas or repeated [default: all eleven].")
]
FromOption = Annotated[str | None, typer.Option("--from", help="First month, YYYY-MM [default: the --to month].")]
ToOption = Annotated[str | None, typer.Option("--to", help="Last month, YYYY-MM [default: the newest month].")]


def main() -> None:
    """Entry point: a QuantError is one line and exit status 1, not a traceback."""
    try:
        app(standalone_mode=True)
    except QuantError as error:
        fail(error)


def fail(error: Exception) -> NoReturn:
    """Print an error that the user can mend, each of its lines as one, and leave."""
    for line in str(error).splitlines():
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"[bold red]error:[/] {_escaped(line)}")
    raise SystemExit(130 if isinstance(error, InterruptedRunError) else 1)


@app.command()
def run(
    sector: SectorOption = None,
    first: FromOption = None,
    last: ToOption = None,
    select: Annotated[
        str | None,
        typer.Option(
            "--select",
            help="Assets: 'ohlcv..labels', 'ohlcv,prices', or a Dagster selection such as 'group:signals' [default: every asset].",
        ),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, help="Sectors computed at the same time.")] = os.cpu_count() or 1,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Compute earlier months again that other code or settings have made, and what reads them.")
    ] = False,
    profile: ProfileOption = None,
) -> None:
    """Materialise assets for sectors and months; earlier months that windows need are added where they are missing.

    Earlier months that other code or settings have made are used as they are, and named; `--refresh` computes them again.

    Examples:

        quant run --sector healthcare --from 2024-01 --to 2024-12

        quant run -p files -s it -s healthcare --from 2015-01 --to 2016-12

        quant run --sector energy --to 2024-06 --select 'group:signals'
    """
    session = _Session(profile)
    months = session.months(first, last)
    session.run(session.sectors(sector), *months, select=select, workers=workers, refresh=refresh)


@app.command()
def picks(
    sector: SectorOption = None,
    month: Annotated[str | None, typer.Option("--month", "-m", help="Month, YYYY-MM [default: the newest month].")] = None,
    profile: ProfileOption = None,
) -> None:
    """Show the candidates and weights of a month.

    Examples:

        quant picks --sector healthcare --month 2024-06

        quant picks --profile files --sector it --month 2016-06
    """
    session = _Session(profile)
    chosen = session.months(month, month)[1]
    for name in session.sectors(sector) if sector else session.sectors_with("candidates", chosen):
        session.show_picks(name, chosen)


@app.command()
def candidates(
    sector: SectorOption = None,
    month: Annotated[str | None, typer.Option("--month", "-m", help="Month, YYYY-MM [default: --from and --to].")] = None,
    first: FromOption = None,
    last: ToOption = None,
    compare: Annotated[bool, typer.Option("--compare", help="Two selections side by side.")] = False,
    changes: Annotated[
        list[str] | None, typer.Option("--with", help="Select with candidates.NAME=VALUE from the stored indicators; may be repeated.")
    ] = None,
    export: Annotated[
        str | None, typer.Option("--export", help="Write year=YYYY/month=M with Parquet and JSON for each sector into this folder.")
    ] = None,
    profile: ProfileOption = None,
) -> None:
    """Show candidates, compare selections under changed settings, or export them; nothing in the storage changes.

    `--compare` alone sets the stored candidates against the selection under the present settings, with `--with` the present settings
    against changed ones.

    Examples:

        quant candidates --sector healthcare --month 2024-06

        quant candidates -s it --compare --with candidates.momentum_weight=0.6

        quant candidates --from 2024-01 --compare

        quant candidates -s it --from 2024-01 --to 2024-06 --export exported
    """
    if month is not None and (first is not None or last is not None):
        raise SettingsError("--month is one month and --from with --to a range; give one of the two")
    session = _Session(profile)
    months = session.months(month or first, month or last)
    from quant_assets.cli_candidates import Shown, output

    read = "indicators" if changes else "candidates"
    chosen = session.sectors(sector) if sector else session.sectors_with(read, months[1])
    for each in output(Shown(session.profile, chosen, *months), changes or [], comparing=compare, export=export):
        _show(each)


@app.command()
def known(
    dataset: Annotated[str, typer.Argument(help="Dataset with a column known_at: fundamentals, macro, labels or delistings.")],
    as_of: Annotated[str, typer.Option("--as-of", help="Day of the question, YYYY-MM-DD.")],
    sector: SectorOption = None,
    ticker: Annotated[list[str] | None, typer.Option("--ticker", "-t", help="Ticker; may be repeated [default: all].")] = None,
    newest: Annotated[bool, typer.Option("--newest", help="Of each ticker or series the newest period alone.")] = False,
    profile: ProfileOption = None,
) -> None:
    """Show what was known at a day: each period in the version that was in force at its close, from the stored months.

    Examples:

        quant known fundamentals --sector it --as-of 2016-06-30 --ticker AAPL

        quant known macro --as-of 2016-06-30 --newest
    """
    session = _Session(profile)
    from quant_assets.cli_known import output, rows_known

    try:
        day = date.fromisoformat(as_of)
    except ValueError:
        raise SettingsError(f"--as-of {as_of} is not a day; write it as YYYY-MM-DD, for example 2016-06-30") from None
    chosen = session.sectors(sector) if sector else []
    for each in output(rows_known(session.profile, dataset, chosen, day, ticker or [], only_newest=newest), dataset, day):
        _show(each)


audit_app = typer.Typer(help="Prove that nothing of the graph uses the future.", no_args_is_help=True, rich_markup_mode="markdown")
app.add_typer(audit_app, name="audit")


@audit_app.command()
def lookahead(
    sector: SectorOption = None,
    first: FromOption = None,
    last: ToOption = None,
    asset: Annotated[
        list[str] | None, typer.Option("--asset", "-a", help="Only this asset and what it reads; may be repeated [default: all].")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full/--quick", help="Every month and sector at cuts a year apart, or one sector's last two years.")
    ] = False,
    json: Annotated[Path | None, typer.Option("--json", help="Write every comparison into this file.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with each failure into this file.")] = None,
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, help="Processes at the same time.")] = os.cpu_count() or 1,
    profile: ProfileOption = None,
) -> None:
    """Compute the graph again on altered inputs and compare: what was known by a day must not change with what came after it.

    The inputs are cut off at several days, replaced by random values after them, published later, shuffled, shortened, and without one
    ticker. Everything runs in a temporary folder; the storage is not touched. Exit status 1 where something differs.

    Examples:

        quant audit lookahead

        quant audit lookahead -p files -s energy --from 2014-01 --to 2015-12

        quant audit lookahead --asset features --html audit.html

        quant audit lookahead --full --workers 8
    """
    session = _Session(profile)
    from quant_assets.audit.beside import audit_parts
    from quant_assets.cli_audit import Steps, chosen_parts, output, write
    from quant_assets.running.bookkeeping import relax

    relax()
    chosen = chosen_parts(session.profile, session.sectors(sector) if sector else [], first, last, asset or [], full=full)
    with Steps(console) as steps:
        result = audit_parts(chosen, workers, steps.advance)
    for each in output(result):
        if isinstance(each, Table):
            _print_whole(each)
        else:
            _print(each)
    for line in write(result, json, html, session.settings):
        _print(line)
    if not result.passed:
        raise typer.Exit(1)


@app.command()
def trials(
    sector: SectorOption = None,
    month: Annotated[
        str | None, typer.Option("--month", "-m", help="Trials known at its end, YYYY-MM [default: the newest month].")
    ] = None,
    profile: ProfileOption = None,
) -> None:
    """Show every set of settings that was trained or back-tested, by sector and for the total portfolio, with Sharpe ratio and rank IC.

    Their number and the variance of their Sharpe ratios are what the deflated Sharpe ratio in reports and backtests uses.

    Examples:

        quant trials --sector healthcare

        quant trials --profile files --sector it --month 2016-06
    """
    session = _Session(profile)
    from quant_assets.cli_trials import output
    from quant_assets.trial_log import PORTFOLIO

    chosen = session.sectors(sector) if sector else [*SECTORS, PORTFOLIO]
    for each in output(session.profile, chosen, session.months(month, month)[1]):
        if isinstance(each, Table):
            _print_whole(each)
        else:
            _print(each)


@app.command()
def status(sector: SectorOption = None, profile: ProfileOption = None) -> None:
    """Show which partitions exist, by asset and sector: first and last month, how many, and how many are missing between.

    Examples:

        quant status

        quant status --profile files --sector healthcare
    """
    session = _Session(profile)
    session.show_status(session.sectors(sector))


@app.command()
def stale(sector: SectorOption = None, profile: ProfileOption = None) -> None:
    """Show which stored months would be computed otherwise today, and why: changed code, settings, inputs or files.

    Examples:

        quant stale

        quant stale --profile files --sector healthcare
    """
    session = _Session(profile)
    from quant_assets.cli_repro import stale as output

    for each in output(session.profile, session.sectors(sector)):
        _show(each)


@app.command()
def repro(
    partition: Annotated[str, typer.Option("--partition", help="Partition such as '2016-06|healthcare', or 2016-06 across sectors.")],
    asset: Annotated[str, typer.Option("--asset", "-a", help="Asset, such as weights.")],
    keep: Annotated[bool, typer.Option("--keep", help="Leave what was computed again for a look.")] = False,
    profile: ProfileOption = None,
) -> None:
    """Compute a partition and all that it follows from again, from the recorded settings, and compare the hashes of the rows.

    Nothing stored changes. Exit status 1 where rows differ; the table says why, or that they are not reproducible.

    Examples:

        quant repro --partition '2024-06|healthcare' --asset weights

        quant repro --partition '2016-06|it' --asset predictions --keep
    """
    session = _Session(profile)
    from quant_assets.audit.reproduction import recompute
    from quant_assets.cli_repro import compared
    from quant_assets.running.bookkeeping import relax

    relax()
    found = recompute(session.profile, asset, partition, keep=keep)
    for each in compared(found):
        _show(each)
    if not found.reproduced:
        raise typer.Exit(1)


@app.command()
def features(
    only: Annotated[str | None, typer.Option("--set", help="One ready-made set, module of yours, or 'indicators' [default: all].")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    profile: ProfileOption = None,
) -> None:
    """Show every declared indicator and feature: inputs, lookback in sessions, unit, lag, meaning and source.

    Examples:

        quant features --set core

        quant features --profile files --markdown
    """
    from quant_assets.documentation import as_markdown, as_table, documented

    lines = documented(load_settings(profile), only)
    if markdown:
        _print(as_markdown(lines))
    elif console.is_terminal:
        console.print(as_table(lines))  # folded to the window
    else:
        _print_whole(as_table(lines))


@app.command()
def factors(
    sector: SectorOption = None,
    month: Annotated[str | None, typer.Option("--month", "-m", help="Month, YYYY-MM [default: the newest month].")] = None,
    factor: Annotated[str | None, typer.Option("--factor", "-f", help="One factor at every horizon [default: the strongest].")] = None,
    horizon: Annotated[int | None, typer.Option("--horizon", help="Sessions ahead [default: weights.horizon].")] = None,
    profile: ProfileOption = None,
) -> None:
    """Show what factors (features, candidate scores, models) were worth up to a month, and where the page with the plots is.

    Examples:

        quant factors --sector healthcare --month 2024-06

        quant factors -s it --factor momentum_12_1
    """
    session = _Session(profile)
    chosen = session.months(month, month)[1]
    from quant_assets.cli_factors import output

    for name in session.sectors(sector) if sector else session.sectors_with("factor_tear_sheet", chosen):
        for each in output(session.profile, name, chosen, factor, horizon):
            if isinstance(each, Table):
                _print_whole(each)
            else:
                _print(each)


@app.command()
def demo(workers: Annotated[int, typer.Option("--workers", "-w", min=1, help="Sectors at the same time.")] = os.cpu_count() or 1) -> None:
    """Run every asset of two sectors over the last three years of the simulated market, then show picks and report.

    Example:

        quant demo
    """
    session = _Session("demo")
    from quant_assets.partitions import shift_month

    last = session.profile.last_month()
    chosen = ["healthcare", "it"]
    session.run(chosen, shift_month(last, -35), last, select=None, workers=workers)
    for name in chosen:
        session.show_picks(name, last)
    for name in chosen:
        _print(f"report: {session.report_path(name, last)}")
    console.print("next: [bold]make ui[/] opens the web UI, [bold]quant --help[/] lists the commands")


class _Session:
    """A profile and its definitions, loaded once for a command."""

    def __init__(self, profile: str | None) -> None:
        self.settings = load_settings(profile)
        # Workers and the definitions' own import read the profile from the environment.
        os.environ["QUANT_PROFILE"] = self.settings.profile
        from quant_assets.profile import Profile

        self.profile = Profile(self.settings)

    def sectors(self, given: list[str] | None) -> list[str]:
        from quant_assets.partitions import check_sector

        named = [name for each in given or SECTORS for name in each.split(",")]
        return [check_sector(name) for name in dict.fromkeys(named)]

    def sectors_with(self, dataset: str, month: str) -> list[str]:
        existing = self.profile.store.existing(self.profile.datasets[dataset])
        found = {key.partition("|")[2] for key in existing if key.startswith(month)}
        if not found:
            raise MissingPartitionError(f"no sector has '{dataset}' for {month} in {self.profile.store.url}; run: {self.first_run(month)}")
        return [name for name in SECTORS if name in found]

    def months(self, first: str | None, last: str | None) -> tuple[str, str]:
        from quant_assets.partitions import check_month

        last = check_month(last) if last else self.profile.last_month()
        first = check_month(first) if first else last
        self.profile.check_months(first, last)
        return first, last

    def run(self, sectors: list[str], first: str, last: str, *, select: str | None, workers: int, refresh: bool = False) -> None:
        from quant_assets.definitions import build_defs
        from quant_assets.running.execute import execute
        from quant_assets.running.instance import dagster_home, records
        from quant_assets.running.plan import Planner, joined, total_outputs

        self.profile.source.membership(self.profile.last_session())  # a missing data folder is said before anything starts
        home = dagster_home(self.settings.profile)
        found, wanted = records(home), self.settings.dagster.storage
        if found is not None and found != wanted:
            _print(f"Dagster's records stay in {found}, as {home} has them, not in {wanted} (dagster.storage); move that folder to change")
        defs = build_defs(self.settings)
        planner = Planner(defs, self.profile, refresh=refresh)
        names = planner.select(select, defs)
        # Neighbours one after the other may become one run; the sectors with most tickers start first, so that no core is left waiting.
        chains = joined(planner.sector_phases(names, name, first, last) for name in sorted(sectors, key=list(SECTORS).index))
        tickers = dict(self.profile.source.sector_snapshots(self.profile.last_session()).group_by("sector").len().iter_rows())
        chains.sort(key=lambda chain: -max(phase.outputs * sum(tickers.get(name, 0) for name in phase.sectors) for phase in chain))
        monthly = planner.month_phases(names, first, last)
        phases = [phase for chain in [*chains, monthly] for phase in chain]
        if not phases:
            raise SettingsError(f"nothing to run for {first} to {last}")
        earliest = min(phase.first for phase in phases)
        if earliest < first:
            _print(f"warm-up: windows reach back to {earliest}; earlier partitions that are missing or unfinished are computed first")
        for note in planner.notes():
            _print(note)
        if planner.uses_stale:
            _print("two versions stand side by side: quant run --refresh computes again what this run reads, quant stale shows all of it")
        latest = max(phase.last for phase in phases)
        if latest > last:
            _print(f"labels reach ahead: prices up to {latest} are computed too")
        try:
            with _Counter(total_outputs(phases)) as counter:
                execute(chains, self.settings.profile, workers, counter.advance)
                execute([monthly], self.settings.profile, 1, counter.advance)
        except KeyboardInterrupt:
            raise InterruptedRunError("interrupted; what was written stays, and the same command goes on from there") from None

    def first_run(self, month: str) -> str:
        """The command to start with where nothing is there."""
        return f"quant run --profile {self.settings.profile} --sector healthcare --to {month}"

    def frame(self, dataset: str, sector: str, month: str) -> pl.DataFrame:
        from quant_assets.partitions import key

        return self.profile.store.read(self.profile.datasets[dataset], [key(sector, month)]).collect()

    def show_picks(self, sector: str, month: str) -> None:
        candidates = self.frame("candidates", sector, month)
        weights = self.frame("weights", sector, month)
        as_of: date | None = candidates["as_of"][0] if len(candidates) else None
        if as_of is not None and as_of > self.profile.last_session():
            raise SettingsError(
                f"the stored decision of {sector} {month} was taken at {as_of}, after as_of {self.settings.as_of}; "
                "set QUANT__STORAGE to another folder for a view of the past and run the month there"
            )
        if not len(candidates):
            _print(f"{sector} {month}: no candidates; no member passed the filters (candidates.* in conf/)")
            return
        joined = candidates.join(weights.select("ticker", "weight", "score", "score_source"), on="ticker", how="left")
        joined = joined.sort("candidate_type", "selection_rank")
        table = Table()
        forecast_name = f"{self.settings.weights.horizon}-day forecast"
        for name in ("side", "rank", "ticker", "composite", "momentum", "slope", "low vol", "weight", forecast_name):
            table.add_column(name, justify="left" if name in ("side", "ticker") else "right")
        for row in joined.iter_rows(named=True):
            forecast = row["score"] if row["score_source"] == "prediction" else None
            table.add_row(
                row["candidate_type"],
                str(row["selection_rank"]),
                _escaped(row["ticker"]),
                *(_number(row[name], "+.2f") for name in ("composite_score", "momentum_score", "ma_slope_score", "volatility_score")),
                _number(row["weight"], ".1%"),
                _number(forecast, "+.2%"),
            )
        _print(f"{sector}, decided at the close of {candidates['as_of'][0]}")
        _print_whole(table)

    def report_path(self, sector: str, month: str) -> str:
        rows = self.frame("ops_report", sector, month)
        return self.profile.store.artifact_url(rows["report_file"][0])

    def show_status(self, sectors: list[str]) -> None:
        from quant_assets.partitions import month_range

        table = Table()
        for name in ("asset", "sector", "first", "last"):
            table.add_column(name)
        table.add_column("partitions", justify="right")
        table.add_column("missing between", justify="right")
        for name, dataset in self.profile.datasets.items():
            existing = self.profile.store.existing(dataset)
            for sector in sectors if dataset.grain == "sector" else [""]:
                months = sorted(key.partition("|")[0] for key in existing if key.partition("|")[2] == sector)
                if months:
                    gaps = len(month_range(months[0], months[-1])) - len(months)
                    table.add_row(name, sector, months[0], months[-1], str(len(months)), str(gaps or ""))
        if not table.row_count:
            start = "quant demo" if self.settings.profile == "demo" else self.first_run(self.profile.last_month())
            raise MissingPartitionError(f"nothing has been materialised in {self.profile.store.url}; start with: {start}")
        _print(f"profile {self.settings.profile}, {self.profile.store.url}")
        _print_whole(table)


class _Counter:
    """Partitions written so far: a bar in a terminal, elsewhere (a log, a pipe) a line for each tenth."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._written = 0
        columns = (
            TextColumn("{task.description:<20}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("<"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("partitions", total=total)

    def __enter__(self) -> "_Counter":
        self._bar.start()
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        if failed is None:
            self._bar.update(self._task, description="done")
        self._bar.stop()

    def advance(self, dataset: str, partitions: int) -> None:
        before, self._written = self._written, self._written + partitions
        self._bar.update(self._task, advance=partitions, description=dataset)
        if self._bar.disable and 10 * self._written // self._total > 10 * before // self._total:
            _print(f"{self._written} of {self._total} partitions, last {dataset}")


def _print(text: str) -> None:
    """Print a text as it is: not wrapped, not coloured."""
    console.print(text, soft_wrap=True, highlight=False, markup=False)


def _show(output: str | Table) -> None:
    """Print a line or a table."""
    if isinstance(output, Table):
        _print_whole(output)
    else:
        _print(output)


def _print_whole(table: Table) -> None:
    """Print a table as wide as it is: a narrow window or a pipe must not cut off names or numbers."""
    needed = console.measure(table, options=console.options.update(width=1_000)).maximum
    Console(width=max(needed, console.width)).print(table)


def _number(value: Any, form: str) -> str:
    return "" if value is None else format(value, form)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


if __name__ == "__main__":
    main()
