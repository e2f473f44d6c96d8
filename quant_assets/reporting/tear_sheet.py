"""Pages of factor tear sheets: of one sector with the plots of each factor, and of the market sector by sector.

Figures come ready.
"""

import base64
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np
import polars as pl

from quant_assets.backtest.factor_summary import BY_CHANCE, Summary, significant_t, spread_correlations
from quant_assets.features.labels import DELISTING_SESSIONS
from quant_assets.reporting.ops_report import number, percent
from quant_assets.reporting.pages import counted, environment
from quant_assets.schemas.research import QUANTILES
from quant_assets.settings.sectors import SECTORS

_KEY = ("kind", "factor", "horizon")
#: Figures of each factor and horizon that the script of the page draws from.
_DRAWN = (
    "ic",
    "ic_standard_error",
    "ic_t",
    "ic_std",
    "ic_sessions",
    "months",
    "names",
    *(f"quantile_{each}" for each in range(1, QUANTILES + 1)),
    "top_turnover",
    "bottom_turnover",
    "rank_autocorrelation",
)
_QUANTILES = [f"quantile_{each}" for each in range(1, QUANTILES + 1)]
#: Factors, from the first, of which the page has each month, and how far they go together; scores and models besides.
_BY_MONTH = 12
#: Of figures in a page: what it shows, and one or two more. The page adds up the months' returns, so these have more.
_DECIMALS, _YEAR_DECIMALS, _MONTH_DECIMALS, _RETURN_DECIMALS = 5, 3, 4, 6


def render(
    sheet: Summary,
    sector_name: str,
    horizon: int,
    entry_lag: int,
    meanings: Mapping[str, str] | None = None,
    market: str | None = None,
) -> bytes:
    """A sector's page: one self-contained HTML file (UTF-8), the same bytes for the same figures.

    Nothing in it comes from elsewhere.

    The table, by |t| at `horizon`, is there without scripts; a script sorts it and draws the plots of the factor that
    is chosen. The page's own policy allows this script alone.

    Args:
        sheet: figures.
        sector_name: as people write it.
        horizon: the one that is shown first, in sessions.
        entry_lag: sessions from signal to entry.
        meanings: of features, by name.
        market: a word of warning beside the title, for a market that is not a real one.

    """
    years = sheet.by_year["year"].unique().sort().to_list()
    by_year: dict[tuple[str, str, int], list[float | None]] = {}
    for kind, factor, at, year, ic in sheet.by_year.select(
        *_KEY, "year", pl.col("ic").round(_YEAR_DECIMALS)
    ).iter_rows():
        by_year.setdefault((kind, factor, at), [None] * len(years))[years.index(year)] = ic
    figures = sheet.rows.select(*_KEY, *_DRAWN).with_columns(pl.selectors.float().round(_DECIMALS))
    shown: list[dict[str, Any]] = []
    for (kind, factor), rows, also in _alike(figures):
        by_horizon = {row[0]: row[1:] for row in rows}
        first = dict(zip(_DRAWN, by_horizon.get(horizon, (None,) * len(_DRAWN)), strict=True))
        drawn = {
            "factor": factor,
            "meaning": (meanings or {}).get(factor, ""),
            "by_horizon": by_horizon,
            "by_year": {at: by_year[kind, factor, at] for at in by_horizon if (kind, factor, at) in by_year},
        }
        named = {"kind": kind, "factor": factor, "also": also, "ic_t": first["ic_t"], "months": first["months"]}
        shown.append(named | {"cells": _cells(first), "drawn": drawn})
    shown.sort(key=lambda entry: (-abs(entry["ic_t"] or 0.0), entry["kind"], entry["factor"]))
    names = [(entry["kind"], entry["factor"]) for entry in shown]
    drawn_by_month = {*names[:_BY_MONTH], *(name for name in names if name[0] != "feature")}
    months, by_month = _months(sheet.by_month, drawn_by_month, horizon)
    for entry in shown:
        entry["drawn"]["by_month"] = by_month.get((entry["kind"], entry["factor"]))
    data = {
        "columns": _DRAWN,
        "years": [str(year) for year in years],
        "months": months,
        "months_horizon": horizon,
        "factors": [entry["drawn"] for entry in shown],
    }
    template = _templates().get_template("tear_sheet.html")
    page = template.render(
        title=sector_name,
        as_of=sheet.as_of,
        market=market,
        tiles=_tiles(shown, max(sheet.rows["months"].to_list(), default=0), horizon),
        factors=shown,
        horizons=sheet.rows["horizon"].unique().sort().to_list(),
        horizon=horizon,
        entry_lag=entry_lag,
        delay=DELISTING_SESSIONS,
        **_chance(sum(entry["ic_t"] is not None for entry in shown)),
        correlations=_correlations(sheet.by_month, names[:_BY_MONTH], horizon),
        by_month=_BY_MONTH,
        data=_json(data),
    )
    return page.encode()


def render_market(
    as_of: date, rows: pl.DataFrame, sheets: pl.DataFrame, horizon: int, market: str | None = None
) -> bytes:
    """The market's page: the ICs of every factor at one horizon, over all sectors and in each.

    Args:
        as_of: of the decision.
        rows: dataset market_tear_sheet of it, without `page_file`.
        sheets: dataset factor_tear_sheet of it, with `sector`.
        horizon: in sessions.
        market: as for `render`.

    """
    at = sheets.filter(pl.col("horizon") == horizon)
    sectors = [sector for sector in SECTORS if sector in set(at["sector"])]
    ics: dict[tuple[str, str], dict[str, float]] = {}
    for kind, factor, sector, ic in at.select("kind", "factor", "sector", pl.col("ic").round(_DECIMALS)).iter_rows():
        ics.setdefault((kind, factor), {})[sector] = ic
    shown: list[dict[str, Any]] = []
    columns = [name for name in rows.columns if name not in ("as_of", *_KEY)]
    of_horizon = rows.filter(pl.col("horizon") == horizon).select("kind", "factor", *columns)
    for (kind, factor), (figures,), also in _alike(of_horizon.with_columns(pl.selectors.float().round(_DECIMALS))):
        by_sector = [ics[kind, factor].get(sector) for sector in sectors]
        named = dict(zip(columns, figures, strict=True))
        shown.append({"kind": kind, "factor": factor, "also": also, "by_sector": by_sector} | named)
    shown.sort(key=lambda entry: (-abs(entry["ic"]), entry["kind"], entry["factor"]))
    by_factor = at.group_by("kind", "factor").agg(pl.col("ic_t").count())
    with_t = {(kind, factor): count for kind, factor, count in by_factor.iter_rows()}
    chance = _chance(sum(with_t[entry["kind"], entry["factor"]] for entry in shown))
    significant = sum(entry["significant_sectors"] for entry in shown)
    best = shown[0] if shown else None
    agree = sum(entry["positive_sectors"] in (0, entry["sectors"]) for entry in shown)
    template = _templates().get_template("market_tear_sheet.html")
    page = template.render(
        title="all sectors",
        as_of=as_of,
        market=market,
        tiles=[
            ("Factors", len(shown), f"in {len(sectors)} of {len(SECTORS)} sectors"),
            ("Largest IC", number(best["ic"] if best else None, 3, sign=True), best["factor"] if best else ""),
            (
                "Significant pairs of factor and sector",
                significant,
                f"of {chance['tested']}; {chance['expected']} by chance alone",
            ),
            ("Same sign in all sectors", agree, "factor" if agree == 1 else "factors"),
        ],
        factors=shown,
        sectors=[SECTORS[sector].name for sector in sectors],
        horizon=horizon,
        **chance,
    )
    return page.encode()


def strongest(rows: pl.DataFrame, horizon: int, most: int = 12) -> pl.DataFrame:
    """Rows of dataset factor_tear_sheet with the largest |ic_t| at a horizon, factors with the same figures once."""
    tested = rows.filter(pl.col("horizon") == horizon, pl.col("ic_t").is_not_null())
    ordered = tested.sort(pl.col("ic_t").abs().round(_DECIMALS), "kind", "factor", descending=[True, False, False])
    return ordered.unique(
        [pl.col(name).round(_DECIMALS) for name in ("ic", "ic_t")], keep="first", maintain_order=True
    ).head(most)


def _months(
    by_month: pl.DataFrame, factors: Collection[tuple[str, str]], horizon: int
) -> tuple[list[str], dict[tuple[str, str], dict[str, list[Any]]]]:
    """Months, and of each factor its ICs in them and the quantiles' returns; null where a month has none."""
    of_horizon = by_month.filter(pl.col("horizon") == horizon).sort("as_of")
    months = of_horizon["as_of"].dt.strftime("%Y-%m").unique(maintain_order=True).to_list()
    position = {month: number for number, month in enumerate(months)}
    by_factor: dict[tuple[str, str], dict[str, list[Any]]] = {}
    rows = of_horizon.select(
        "kind",
        "factor",
        pl.col("as_of").dt.strftime("%Y-%m"),
        pl.col("ic").round(_MONTH_DECIMALS),
        pl.col(_QUANTILES).round(_RETURN_DECIMALS),
    )
    for kind, factor, month, ic, *quantiles in rows.iter_rows():
        if (kind, factor) in factors:
            series = by_factor.setdefault(
                (kind, factor), {"ic": [None] * len(months), "quantiles": [None] * len(months)}
            )
            series["ic"][position[month]] = ic
            series["quantiles"][position[month]] = None if None in quantiles else quantiles
    return months, by_factor


def _correlations(
    by_month: pl.DataFrame, factors: Sequence[tuple[str, str]], horizon: int
) -> list[tuple[str, list[float | None]]]:
    """Name of each factor and its correlation with the others, in their order; empty where no two have one."""
    matrix = spread_correlations(by_month, factors, horizon)
    if len(factors) < 2 or np.isnan(matrix[~np.eye(len(factors), dtype=bool)]).all():
        return []
    return [
        (factor, [None if np.isnan(correlation) else round(float(correlation), 2) + 0.0 for correlation in row])
        for (_, factor), row in zip(factors, matrix, strict=True)
    ]


def _tiles(shown: Sequence[Mapping[str, Any]], longest: int, horizon: int) -> list[tuple[str, Any, str]]:
    tested = [row for row in shown if row["ic_t"] is not None]
    significant = sum(abs(row["ic_t"]) >= significant_t(horizon, row["months"]) for row in tested)
    chance = _chance(len(tested))
    most = max((row["months"] for row in tested), default=None)
    critical = ("–", "too few months")
    if most is not None:
        critical = (number(significant_t(horizon, most), 1), f"with {counted(most, 'month')}")
    best = tested[0] if tested else None
    return [
        ("Factors", len(shown), f"over up to {counted(longest, 'month')}, {counted(horizon, 'session')} ahead"),
        (
            "Largest |t|",
            number(best["ic_t"] if best else None, 1, sign=True),
            best["factor"] if best else "too few months",
        ),
        ("Significant", significant, f"of {chance['tested']} with a t; {chance['expected']} by chance alone"),
        ("Critical |t|", *critical),
    ]


def _chance(tested: int) -> dict[str, Any]:
    """How many figures with a t there are, and in words how many would be significant by chance alone."""
    return {"tested": tested, "expected": f"about {round(BY_CHANCE * tested)}"}


def _cells(row: Mapping[str, Any]) -> list[str]:
    """Cells of a factor in the order of the columns; the page's script fills them in the same way."""
    ic, std, top, bottom = (row[name] for name in ("ic", "ic_std", f"quantile_{QUANTILES}", "quantile_1"))
    return [
        number(ic, 3, sign=True),
        number(row["ic_t"], 1, sign=True),
        number(ic / std if ic is not None and std else None, 2, sign=True),
        percent(top - bottom if top is not None and bottom is not None else None, 2, sign=True),
        percent(row["top_turnover"], 0),
        number(row["rank_autocorrelation"]),
        number(row["names"], 0),
    ]


def _alike(rows: pl.DataFrame) -> list[tuple[tuple[str, str], list[tuple[Any, ...]], list[str]]]:
    """Rows (`kind`, `factor`, figures) by factor without these two.

    Factors with the same figures as an earlier one count as its other names.
    """
    groups: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
    for kind, factor, *figures in rows.iter_rows():
        groups.setdefault((kind, factor), []).append(tuple(figures))
    first: dict[tuple[object, ...], tuple[str, str]] = {}
    others: dict[tuple[str, str], list[str]] = {}
    for name, figures_by_horizon in groups.items():
        others.setdefault(first.setdefault((name[0], *figures_by_horizon), name), []).append(name[1])
    return [(name, groups[name], also[1:]) for name, also in others.items()]


def _json(data: object) -> str:
    """JSON that is safe in a script element: no text in it can end the element."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


@cache
def _templates() -> jinja2.Environment:
    templates = environment("quant_assets.reporting")
    script = files("quant_assets.reporting").joinpath("templates", "tear_sheet.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    templates.globals |= {"script": script, "script_hash": f"sha256-{digest}"}
    templates.filters |= {"percent": percent, "number": number}
    return templates
