"""The operations report of one sector and month: its figures, its HTML page and its small picture.

Plots are drawn in plots.py.
"""

import math
from collections.abc import Sequence
from datetime import date
from functools import cache

import jinja2
import polars as pl

from quant_assets.backtest.benchmark import INDEX_UNITS, against_index
from quant_assets.backtest.metrics import UNITS, annualised_return_of, performance
from quant_assets.backtest.statistics import MIN_OBSERVATIONS
from quant_assets.backtest.trials import EVIDENCE_UNITS
from quant_assets.market.calendar import SESSIONS_PER_YEAR
from quant_assets.reporting.pages import MONTHS, counted, environment
from quant_assets.reporting.report_data import ReportData
from quant_assets.schemas import DATASETS

#: Figures of `performance` that say something about a single month.
_MONTH_FIGURES = (
    "sessions",
    "total_return",
    "benchmark_return",
    "annualised_volatility",
    "max_drawdown",
    "hit_rate",
    "turnover",
    "cost",
)

#: Figures of the whole track record, as dataset track_record has them.
_FIGURES_TO_DATE = ("sessions", "total_return", "annualised_volatility", "sharpe", "drawdown", "max_drawdown")

_MISSING = "–"

#: Track records that would have to be longer are not told apart.
_LONGEST_YEARS = 100


def figures(report: ReportData) -> pl.DataFrame:
    """Figures of the report.

    Window `month` is as_of's month up to as_of, window `to_date` the whole track record from its first execution to
    as_of, window `history` the part of it within the report's history; `months` says how many calendar months they are.

    Returns:
        Dataset ops_report without `report_file`, sorted by metric and window; `value` is null where a figure is not
        defined.

    """
    month, history = performance(report.month), performance(report.track)
    picks = report.picks["weight"].to_list()
    regime = report.regime or {}
    rows: list[tuple[str, str, object, str]] = [(name, "month", month[name], UNITS[name]) for name in _MONTH_FIGURES]
    rows += [(name, "history", value, UNITS[name]) for name, value in history.items()]
    rows += [(name, "history", value, INDEX_UNITS[name]) for name, value in against_index(report.track).items()]
    rows += [(name, "history", value, EVIDENCE_UNITS.get(name, "1")) for name, value in report.evidence.items()]
    whole = report.to_date or {}
    rows += [(name, "to_date", whole.get(name), UNITS.get(name, "1")) for name in _FIGURES_TO_DATE]
    yearly = annualised_return_of(whole.get("total_return"), whole.get("sessions", 0))
    rows += [
        ("annualised_return", "to_date", yearly, UNITS["annualised_return"]),
        ("months", "to_date", report.months_to_date, "months"),
        ("months", "history", report.history_months, "months"),
        ("rank_ic", "history", report.rank_ic, "1"),
        ("rank_ic_standard_error", "history", report.rank_ic_standard_error, "1"),
        ("rank_ic_sessions", "history", len(report.ic), "sessions"),
        ("members", "month", report.members, "names"),
        ("eligible_members", "month", report.eligible, "names"),
        ("long_candidates", "month", report.longs, "names"),
        ("short_candidates", "month", len(report.shorts), "names"),
        ("picks", "month", len(picks), "names"),
        ("largest_weight", "month", max(map(abs, picks), default=None), "1"),
        ("effective_picks", "month", _effective(picks), "names"),
        ("regime_volatility", "month", regime.get("volatility"), "1 per year"),
        ("regime_drawdown", "month", regime.get("drawdown"), "1"),
        ("quarantined_bars", "month", report.quarantined["bars"].sum(), "bars"),
        ("refused_bars", "history", report.faults["refused"].sum(), "bars"),
        ("repaired_events", "history", report.faults["repaired"].sum(), "bars"),
        ("listed_events", "history", report.faults["listed"].sum(), "bars"),
        ("absent_sessions", "month", report.absent["sessions"].sum(), "sessions"),
        ("unexplained_steps", "month", report.month["unexplained"].sum(), "steps"),
    ]
    schema = {name: dtype for name, dtype in DATASETS["ops_report"].schema.items() if name != "report_file"}
    content = [
        (report.as_of, name, window, None if value is None else float(value), unit)  # type: ignore[arg-type]
        for name, window, value, unit in rows
    ]
    return pl.DataFrame(content, schema=schema, orient="row").sort("metric", "window")


def _effective(weights: list[float]) -> float | None:
    """Effective number of names: equal weights of the same gross exposure and concentration."""
    if not weights:
        return None
    gross = math.fsum(map(abs, weights))
    whole = 1.0 if math.isclose(gross, 1.0, abs_tol=1e-9) else gross * gross  # the usual book to the last bit
    return whole / math.fsum(weight * weight for weight in weights)


def render(report: ReportData, market: str | None = None) -> bytes:
    """The page: one self-contained HTML file (UTF-8) without scripts, the same bytes for the same data.

    It is below about 150 kB.

    `market` is a word of warning beside the title, for a market that is not a real one.
    """
    from quant_assets.reporting.plots import report_svg  # matplotlib is loaded by those who draw only

    values = {
        (name, window): value for name, window, value in figures(report).select("metric", "window", "value").iter_rows()
    }
    template = _templates().get_template("ops_report.html")
    page = template.render(
        report=report,
        market=market,
        picks=report.picks.to_dicts(),
        left=report.left.to_dicts(),
        heat=_heat(report.monthly_returns),
        months=MONTHS,
        shorts=report.shorts.to_dicts(),
        quarantined=report.quarantined.to_dicts(),
        faults=report.faults.to_dicts(),
        absent=report.absent.to_dicts(),
        coverage=report.coverage.to_dicts(),
        value=lambda name, window: values[name, window],
        between=lambda name, digits=2: between(
            values[f"{name}_low", "history"], values[f"{name}_high", "history"], digits
        ),
        history_window=_window(report.track["date"][0] if len(report.track) else None, report.history_months),
        track_window=_window((report.to_date or {}).get("since"), report.months_to_date),
        forecast=report.score_source == "prediction",
        plots=report_svg(report),
    )
    return page.encode()


def _window(since: date | None, months: int) -> str | None:
    """The period of a figure, in words; None without data."""
    return None if since is None else f"since {since}, {counted(months, 'month')}"


def _heat(months: Sequence[tuple[date, float]]) -> list[tuple[int, list[float | None], float]]:
    """Year, returns of its months (None where there is none) and of the months together, newest year first."""
    years: dict[int, list[float | None]] = {}
    for day, value in months:
        years.setdefault(day.year, [None] * 12)[day.month - 1] = value
    return [
        (year, cells, math.prod(1.0 + month_return for month_return in cells if month_return is not None) - 1.0)
        for year, cells in sorted(years.items(), reverse=True)
    ]


def preview_png(report: ReportData) -> bytes:
    """A picture of equity against the benchmark, below 40 kB, for the metadata of the web UI."""
    from quant_assets.reporting.plots import preview_png as draw  # matplotlib is loaded by those who draw only

    return draw(report)


def percent(value: float | None, digits: int = 1, sign: bool = False) -> str:
    """A ratio as a percentage with a typographic minus; a dash where it is missing."""
    if value is None:
        return _MISSING
    return f"{100 * value:{'+' if sign else ''}.{digits}f}%".replace("-", "−")


def number(value: float | None, digits: int = 2, sign: bool = False) -> str:
    """A number with thousands separators and a typographic minus; a dash where it is missing."""
    return _MISSING if value is None else f"{value:{'+' if sign else ''},.{digits}f}".replace("-", "−")


def ratio(value: float | None, sessions: float | None, digits: int = 2) -> str:
    """A ratio of returns as `number`; words where there are too few sessions for an interval of it."""
    return "too short to say" if value is not None and (sessions or 0) < MIN_OBSERVATIONS else number(value, digits)


def track_length(sessions: float | None) -> str:
    """Sessions that a track record would need, in words if it is too long; a dash if missing."""
    if sessions is not None and sessions > _LONGEST_YEARS * SESSIONS_PER_YEAR:
        return f"more than {_LONGEST_YEARS} years"
    return counted(sessions, "session")


def between(low: float | None, high: float | None, digits: int = 2) -> str:
    """An interval; a dash where it is missing."""
    return _MISSING if low is None or high is None else f"{number(low, digits)} to {number(high, digits)}"


@cache
def _templates() -> jinja2.Environment:
    templates = environment("quant_assets.reporting")
    templates.filters |= {"percent": percent, "number": number, "ratio": ratio, "track_length": track_length}
    return templates
