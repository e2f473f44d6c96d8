"""The ledger of decisions by session from the go-live day on, and the report of the day."""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Annotated

import dagster as dg
import polars as pl

from quant_assets.asset_functions import Run, Setting
from quant_assets.assets.declare import Asset, declared, read
from quant_assets.daily_partitions import days_before, of_its_month
from quant_assets.errors import LedgerError
from quant_assets.grains import DAY
from quant_assets.market.calendar import sessions
from quant_assets.partitions import month_of
from quant_assets.portfolio.history import needs_history
from quant_assets.portfolio.ledger import said
from quant_assets.profile import Profile
from quant_assets.provenance.day_inputs import day_inputs
from quant_assets.reporting.daily_report import figures, gather, render
from quant_assets.schemas import LIVE
from quant_assets.settings.domain import CandidateSettings
from quant_assets.settings.weights import WeightSettings

DECISIONS, DAILY_ORDERS, DAILY_REPORT = (dataset.name for dataset in LIVE)

#: The check for late entries.
IN_TIME = "said_in_time"

#: Inputs of an entry, whose rows of the day are hashed.
READ = ("universe", "prices", "features", "indicators", "predictions")
#: Upstream of them: only the code and settings of the month are recorded.
BEHIND = ("ohlcv", "delistings", "price_peaks", "fundamentals")

#: Calendar days that always contain the previous session: in September 2001 it was seven days earlier.
_TO_SESSION_BEFORE = 7


def live_assets(profile: Profile) -> list[dg.AssetsDefinition]:
    """Assets by day; none without a go-live day."""
    if profile.settings.live.go_live is None:
        return []
    reads = dict.fromkeys((*READ, *BEHIND), read(of_its_month()))
    said_of: Callable[..., pl.DataFrame] = decisions
    if needs_history(profile.settings.weights):
        reads["weights"], said_of = read(of_its_month()), decisions_with_stored_weights
    entries = {DECISIONS: read(days_before(_TO_SESSION_BEFORE), absent="any")}
    if profile.settings.live.orders:
        entries[DAILY_ORDERS] = read(days_before(0), absent="any")
    return [
        *declared(profile, "live", Asset(DECISIONS, said_of, reads)),
        *declared(profile, "live_report", Asset(DAILY_REPORT, daily_report, entries, kinds=["html"])),
    ]


def live_checks(profile: Profile) -> list[dg.AssetChecksDefinition]:
    """Checks of the assets by day; none without a go-live day."""
    if profile.settings.live.go_live is None:
        return []

    @dg.asset_check(
        name=IN_TIME, asset=DECISIONS, description="decisions were recorded before the next session had closed"
    )
    def said_in_time(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        keys = context.op_execution_context.partition_keys
        rows = profile.store.read(profile.every_dataset[DECISIONS], keys).filter(pl.col("late") > 0)
        late = rows.select("sector", "date", "late").unique().sort("date", "sector").collect()
        told = (f"{sector} {day}: {count} sessions late" for sector, day, count in late.head(10).iter_rows())
        return dg.AssetCheckResult(
            passed=late.is_empty(),
            severity=dg.AssetCheckSeverity.WARN,
            description="; ".join(told) or None,
            metadata={"late": len(late)},
        )

    return [said_in_time]


def decisions(
    run: Run,
    selecting: CandidateSettings,
    weighing: WeightSettings,
    universe: pl.LazyFrame,
    prices: pl.LazyFrame,
    features: pl.LazyFrame,
    indicators: pl.LazyFrame,
    predictions: pl.LazyFrame,
    ohlcv: pl.LazyFrame,
    delistings: pl.LazyFrame,
    price_peaks: pl.LazyFrame,
    fundamentals: pl.LazyFrame,
) -> pl.DataFrame:
    """Decisions at the close of the run's sessions."""
    given = {
        "universe": universe,
        "prices": prices,
        "features": features,
        "indicators": indicators,
        "predictions": predictions,
    }
    return _said(run, selecting, weighing, given)


def decisions_with_stored_weights(
    run: Run,
    selecting: CandidateSettings,
    weighing: WeightSettings,
    universe: pl.LazyFrame,
    prices: pl.LazyFrame,
    features: pl.LazyFrame,
    indicators: pl.LazyFrame,
    predictions: pl.LazyFrame,
    ohlcv: pl.LazyFrame,
    delistings: pl.LazyFrame,
    price_peaks: pl.LazyFrame,
    fundamentals: pl.LazyFrame,
    weights: pl.LazyFrame,
) -> pl.DataFrame:
    """As `decisions`, if weights depend on earlier sessions: takes the stored weights of the session."""
    given = {
        "universe": universe,
        "prices": prices,
        "features": features,
        "indicators": indicators,
        "predictions": predictions,
    }
    return _said(run, selecting, weighing, given, weights)


def _said(
    run: Run,
    selecting: CandidateSettings,
    weighing: WeightSettings,
    given: Mapping[str, pl.LazyFrame],
    weights: pl.LazyFrame | None = None,
) -> pl.DataFrame:
    days = session_days(run)
    parts, followed = [run.dataset(DECISIONS).empty()], [run.dataset(name) for name in (*BEHIND, *READ)]
    for sector in run.sectors:
        for day in days:
            frames = of_day(sector, day, given)
            held = None if weights is None else decided_on(sector, day, weights)
            rows = said(day, frames["indicators"], frames["universe"], frames["predictions"], selecting, weighing, held)
            late = len(sessions(day, run.last_session)) - 1
            inputs = str(day_inputs(run.store, followed, sector, day, frames))
            rows = rows.with_columns(
                sector=pl.lit(sector), late=pl.lit(late, pl.Int32), inputs=pl.lit(inputs, pl.String)
            )
            parts.append(rows.select(parts[0].columns))
            run.tell(sector, DAY.of(day), _told(rows, late))
    return pl.concat(parts)


def of_day(sector: str, day: date, frames: Mapping[str, pl.LazyFrame]) -> dict[str, pl.DataFrame]:
    """The rows of a sector and session by dataset, with the columns of the files."""
    own = (pl.col("sector") == sector) & (pl.col("month") == month_of(day)) & (pl.col("date") == day)
    found = pl.collect_all([each.filter(own).drop("sector", "month") for each in frames.values()])
    return dict(zip(frames, found, strict=True))


def decided_on(sector: str, day: date, weights: pl.LazyFrame) -> pl.DataFrame:
    """The rows of dataset weights that a sector decided at a session."""
    return weights.filter(pl.col("sector") == sector, pl.col("as_of") == day).drop("sector", "month").collect()


def daily_report(
    run: Run,
    horizon: Annotated[int, Setting("weights.horizon")],
    source: Annotated[str, Setting("source")],
    expected: Annotated[tuple[str, ...], Setting("live.sectors")],
    decisions: pl.DataFrame,
    daily_orders: pl.DataFrame | None,
) -> pl.DataFrame:
    """The page of each session over the sectors with entries, and its figures as rows."""
    parts = [run.dataset(DAILY_REPORT).empty()]
    for day in session_days(run):
        report = gather(day, decisions, horizon, expected, daily_orders)
        name = f"{DAILY_REPORT}/{day}/report.html"
        run.store.write_artifact(name, render(report, "Simulated market" if source == "demo" else None))
        rows = figures(report).with_columns(report_file=pl.lit(name))
        run.tell_page(None, DAY.of(day), name)
        run.tell(None, DAY.of(day), {"sectors": len(report.sectors)})
        parts.append(rows.select(parts[0].columns))
    return pl.concat(parts)


def session_days(run: Run) -> list[date]:
    """The days of the run, which must be closed sessions.

    Raises:
        LedgerError: a day is not a closed session; names it.

    """
    days = [date.fromisoformat(day) for day in run.months]
    every = set(sessions(run.first_day, run.last_day).tolist())
    strange = [day for day in days if day not in every]
    early = [day for day in days if day > run.last_session]
    if strange or early:
        shown = ", ".join(f"{day:%A} {day}" for day in (strange or early)[:3])
        more = f" and {len(strange or early) - 3} more" if len(strange or early) > 3 else ""
        why = (
            "no session of XNYS"
            if strange
            else f"not over yet (the last session that has closed is {run.last_session})"
        )
        raise LedgerError(
            f"{shown}{more} {'is' if len(strange or early) == 1 else 'are'} {why}: it has no decision, and "
            f"nothing of the {len(days)} days was written; choose only sessions, or quant daily --as-of DAY"
        )
    return days


def _told(rows: pl.DataFrame, late: int) -> dict[str, int]:
    counts = dict(rows.group_by("item").len().iter_rows())
    return {f"{item}s": counts.get(item, 0) for item in ("forecast", "candidate", "weight")} | {"late_sessions": late}
