"""The page of value at risk: figures by method, forecasts and outcomes, and the sources of risk."""

from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from typing import Any
from xml.sax.saxutils import escape

import jinja2
import polars as pl

from quant_assets.reporting.pages import environment

#: Size of the picture in pixels, and its margins.
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 960, 260, 52, 10, 24, 26
#: Methods to draw, with colours for the colour-blind.
_DRAWN = {"filtered_historical": "#0072b2", "historical": "#009e73", "normal": "#e69f00"}
_RETURN, _EXCEPTION = "#8a94a3", "#d55e00"
#: Names with the largest contributions are shown.
_MOST_NAMES = 20


@lru_cache
def _templates() -> jinja2.Environment:
    return environment("quant_assets.reporting")


def render(
    title: str,
    as_of: date,
    rows: Sequence[dict[str, Any]],
    forecasts: pl.DataFrame,
    parts: pl.DataFrame,
    market: str | None,
) -> bytes:
    """The page of a decision.

    Args:
        title: sector or portfolio.
        as_of: decision session.
        rows: of dataset risk, without `as_of` and `page_file`.
        forecasts: dataset var_forecasts of the months that the back-tests look at.
        parts: dataset risk_breakdown at as_of.
        market: a remark on where prices come from.

    """
    level = max(row["level"] for row in rows)
    parts = parts.with_columns(value=pl.col("value").cast(pl.Float64))
    page = (
        _templates()
        .get_template("risk.html")
        .render(
            title=title,
            as_of=as_of,
            market=market,
            rows=rows,
            tests=[row for row in rows if row["tested_sessions"] is not None],
            level=f"{100 * level:g}",
            picture=exceptions_svg(forecasts, level) if len(forecasts) else None,
            names=_largest(parts, level),
            others=parts.filter(pl.col("part") != "position").rows(named=True),
            percent=_percent,
            plain=_plain,
        )
    )
    return page.encode()


def _percent(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f} %".replace("-", "−")


def _plain(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def _largest(parts: pl.DataFrame, level: float) -> list[dict[str, Any]]:
    """Positions with the largest contribution to the shortfall, each with its figures."""
    wide: dict[str, dict[str, float | None]] = {}
    for item, figure, value in parts.filter(pl.col("part") == "position").select("item", "figure", "value").iter_rows():
        wide.setdefault(item, {})[figure] = value
    shown = {
        "weight": "weight",
        "volatility": "volatility",
        "value_at_risk": f"value_at_risk_{100 * level:g}",
        "expected_shortfall": f"expected_shortfall_{100 * level:g}",
        "sessions_to_sell": "sessions_to_sell",
    }
    named: list[dict[str, Any]] = [
        {"ticker": ticker} | {name: figures.get(figure) for name, figure in shown.items()}
        for ticker, figures in wide.items()
    ]
    named.sort(key=lambda position: (-(position["expected_shortfall"] or 0.0), position["ticker"]))
    return named[:_MOST_NAMES]


def exceptions_svg(forecasts: pl.DataFrame, level: float) -> str:
    """Daily returns of what was held, the losses forecast at a level, and the sessions that exceeded them.

    Args:
        forecasts: dataset var_forecasts.
        level: confidence level.

    Returns:
        An `<svg>` element, deterministic in the figures, with the exceptions by method below its title.

    """
    at = forecasts.filter(pl.col("level") == level).sort("date", "method")
    days = at["date"].unique().sort().to_list()
    session_number = {day: number for number, day in enumerate(days)}
    with_return = at.drop_nulls("portfolio_return")
    returns = dict(with_return.select("date", "portfolio_return").unique().iter_rows())
    losses = at.filter(pl.col("method").is_in(list(_DRAWN))).drop_nulls("value_at_risk")
    reach = max([0.01, *(abs(net_return) for net_return in returns.values()), *losses["value_at_risk"].to_list()])
    inner, tall = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(day: date) -> float:
        return _LEFT + inner * (session_number[day] + 0.5) / max(len(days), 1)

    def y(value: float) -> float:
        return float(_TOP + tall * (0.5 - 0.5 * value / reach))

    judged = with_return.drop_nulls("exception")
    sessions = judged["date"].n_unique()
    counts = judged.group_by("method").agg(pl.col("exception").sum()).sort("method")
    counted = ", ".join(f"{method.replace('_', ' ')} {count}" for method, count in counts.iter_rows())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="10" role="img">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="14">exceptions at {100 * level:g} % in {sessions} sessions: {escape(counted)}</text>',
    ]
    for value in (-reach, 0.0, reach):
        text = f"{100 * value:+.1f} %".replace("-", "−") if value else "0"
        parts.append(
            f'<line x1="{_LEFT}" y1="{y(value):.1f}" x2="{_WIDTH - _RIGHT}" y2="{y(value):.1f}" stroke="#dddddd"/>'
        )
        parts.append(f'<text x="{_LEFT - 4}" y="{y(value) + 3:.1f}" text-anchor="end">{text}</text>')
    bars = "".join(f"M{x(day):.1f} {y(0):.1f}V{y(value):.1f}" for day, value in sorted(returns.items()))
    parts.append(f'<path d="{bars}" stroke="{_RETURN}" stroke-width="1" fill="none"/>')
    for method, colour in _DRAWN.items():
        line = losses.filter(pl.col("method") == method)
        path, before = "", -2
        for day, loss in line.select("date", "value_at_risk").iter_rows():
            # No line over sessions without a forecast.
            path += f"{'L' if session_number[day] == before + 1 else 'M'}{x(day):.1f} {y(-loss):.1f}"
            before = session_number[day]
        parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.2"/>')
    over = with_return.filter(pl.col("method").is_in(list(_DRAWN)) & pl.col("exception"))
    for day, value in over.select("date", "portfolio_return").unique().sort("date").iter_rows():
        parts.append(f'<circle cx="{x(day):.1f}" cy="{y(value):.1f}" r="2.5" fill="{_EXCEPTION}"/>')
    for number, (method, colour) in enumerate(_DRAWN.items()):
        left = _LEFT + 150 * number
        parts.append(f'<text x="{left}" y="{_HEIGHT - 8}" fill="{colour}">{method.replace("_", " ")}</text>')
    if days:
        parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 8}" text-anchor="end">{days[0]} to {days[-1]}</text>')
    return "".join([*parts, "</svg>"])
