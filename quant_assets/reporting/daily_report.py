"""The page of a session: its recorded decisions, changes since the session before, and late or missing entries.

Rows come from the ledger alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cache
from typing import Any

import jinja2
import polars as pl

from quant_assets.reporting.ops_report import number, percent
from quant_assets.reporting.pages import environment
from quant_assets.settings.sectors import SECTORS

#: Short candidates that are listed of a sector.
_SHORTS = 10


@dataclass(frozen=True)
class SectorDay:
    """The entry of a sector at a session.

    Attributes:
        sector: slug.
        name: for a reader.
        before: the session before of which the ledger has something; None where it begins.
        picks: names held, best first: `rank, ticker, weight, change` (of the weight; null where the ledger begins) and
            the forecast of the horizon: `forecast, lower, upper, prob_up, forecast_change`.
        left: names that were held at `before` and no more, by their weight then, largest first.
        shorts: short candidates, worst first.
        forecasts: number of names with a forecast.
        models: name and version of each model that forecasts.
        turnover: sum over names of the absolute changes of weight; None where the ledger begins.
        late: sessions by which it was recorded late.
        notes: what a reader must know, in words.
        orders: what to trade: rows of dataset daily_orders of which something is traded, by ticker.

    """

    sector: str
    name: str
    before: date | None
    picks: list[dict[str, Any]]
    left: list[str]
    shorts: list[str]
    forecasts: int
    models: list[tuple[str, str]]
    turnover: float | None
    late: int
    notes: list[str]
    orders: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class DailyReport:
    """Content of the page.

    Attributes:
        day: session.
        horizon: sessions that the forecasts shown look ahead.
        sectors: those with an entry, in GICS order.
        missing: names of the expected sectors without one.

    """

    day: date
    horizon: int
    sectors: list[SectorDay]
    missing: list[str]


def gather(
    day: date,
    decisions: pl.DataFrame,
    horizon: int,
    expected: Sequence[str] = (),
    orders: pl.DataFrame | None = None,
) -> DailyReport:
    """Content of the page of a session.

    Args:
        day: session.
        decisions: dataset decisions with `sector`, of the session and of some days before; later rows are not used.
        horizon: of the forecasts that are shown.
        expected: sectors that should have an entry; all eleven where empty.
        orders: dataset daily_orders with `sector`; None without orders.

    """
    of_sector = {str(name): rows for (name,), rows in decisions.partition_by("sector", as_dict=True).items()}
    spoken = [name for name in SECTORS if name in of_sector and (of_sector[name]["date"] == day).any()]
    missing = [SECTORS[name].name for name in (expected or tuple(SECTORS)) if name not in spoken]
    sectors = [_sector(name, day, of_sector[name], horizon) for name in spoken]
    if orders is not None:
        asked = orders.filter(pl.col("date") == day, pl.col("action") != "hold").sort("ticker")
        sectors = [
            replace(entry, orders=asked.filter(pl.col("sector") == entry.sector).to_dicts()) for entry in sectors
        ]
    return DailyReport(day, horizon, sectors, missing)


def _sector(sector: str, day: date, rows: pl.DataFrame, horizon: int) -> SectorDay:
    now = rows.filter(pl.col("date") == day)
    earlier = rows.filter(pl.col("date") < day)
    before: Any = earlier["date"].max() if len(earlier) else None
    then = earlier if before is None else earlier.filter(pl.col("date") == before)
    weight = pl.col("item") == "weight"
    held, was = (
        decisions.filter(weight).select("ticker", "rank", "model", weight="value") for decisions in (now, then)
    )
    follows = held["model"][0] if len(held) else None
    shown, shown_before = (
        decisions.filter((pl.col("item") == "forecast") & (pl.col("horizon") == horizon) & (pl.col("model") == follows))
        for decisions in (now, then)
    )
    forecast = shown.select("ticker", "lower", "upper", "prob_up", forecast="value")
    picks = (
        held.join(was.select("ticker", weight_before="weight"), on="ticker", how="left")
        .join(forecast, on="ticker", how="left")
        .join(shown_before.select("ticker", forecast_before="value"), on="ticker", how="left")
        .with_columns(
            change=pl.col("weight") - pl.col("weight_before").fill_null(0.0)
            if before is not None
            else pl.lit(None, pl.Float64),
            forecast_change=pl.col("forecast") - pl.col("forecast_before"),
        )
        .sort("rank")
    )
    left = was.join(held, on="ticker", how="anti").sort("weight", "ticker", descending=[True, False])
    traded = held.join(was, on="ticker", how="full", coalesce=True, suffix="_before")
    turnover = (pl.col("weight").fill_null(0.0) - pl.col("weight_before").fill_null(0.0)).abs().sum()
    shorts = now.filter((pl.col("item") == "candidate") & (pl.col("side") == "short")).sort("rank")
    models = (
        now.filter(pl.col("item") == "forecast")
        .select("model", "model_version")
        .unique()
        .sort("model", "model_version")
    )
    late = now["late"][0]
    notes = []
    if late:
        notes.append(f"recorded {late} session{'' if late == 1 else 's'} late, with what was known of this day by then")
    if models.is_empty():
        notes.append("no model forecasts: too little history, or no checkpoint that is young enough")
    elif follows is not None and shown.is_empty():
        notes.append("weights follow the selection score: their model has no forecast of the day")
    if held.is_empty():
        notes.append("no name is held: no long candidate")
    changed = sorted(set(_versions(now)) - set(_versions(then))) if before is not None else []
    if changed:
        notes.append(f"models that changed since the session before: {', '.join(changed)}")
    return SectorDay(
        sector,
        SECTORS[sector].name,
        before,
        picks.to_dicts(),
        left["ticker"].to_list(),
        shorts["ticker"].head(_SHORTS).to_list(),
        now.filter(pl.col("item") == "forecast")["ticker"].n_unique(),
        models.rows(),
        None if before is None else float(traded.select(turnover).item()),
        late,
        notes,
    )


def _versions(rows: pl.DataFrame) -> list[str]:
    """Models of which one version alone forecasts: an ensemble's differs by horizon and is told by its members."""
    of = rows.filter((pl.col("item") == "forecast") & (pl.col("model") != "ensemble"))
    return [f"{model} {version}" for model, version in of.select("model", "model_version").unique().iter_rows()]


def figures(report: DailyReport) -> pl.DataFrame:
    """Figures of the page.

    Returns:
        `date, sector, metric, value, unit`, sorted by sector and metric.

    """
    rows = [
        (report.day, sector.sector, metric, None if value is None else float(value), unit)
        for sector in report.sectors
        for metric, value, unit in (
            ("forecasts", sector.forecasts, "names"),
            ("picks", len(sector.picks), "names"),
            ("invested", sum(pick["weight"] for pick in sector.picks), "1"),
            ("left", len(sector.left), "names"),
            ("turnover", sector.turnover, "1"),
            ("late", sector.late, "sessions"),
        )
    ]
    schema = {"date": pl.Date, "sector": pl.String, "metric": pl.String, "value": pl.Float64, "unit": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("sector", "metric")


def render(report: DailyReport, market: str | None = None) -> bytes:
    """The page: one self-contained HTML file (UTF-8) without scripts, the same bytes for the same rows.

    `market` is a word of warning beside the title, for a market that is not a real one.
    """
    late = [sector.name for sector in report.sectors if sector.late]
    page = _templates().get_template("daily_report.html").render(report=report, market=market, late=late)
    return page.encode()


@cache
def _templates() -> jinja2.Environment:
    templates = environment("quant_assets.reporting")
    templates.filters |= {"percent": percent, "number": number}
    return templates
