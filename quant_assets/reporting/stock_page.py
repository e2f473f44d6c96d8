"""The page of one stock: its scores, forecasts, values and statements as they were known at a decision, in one file.

Its content is gathered in stock_data.py, its pictures are drawn in stock_plot.py.
"""

from functools import cache
from typing import Any

import jinja2
import polars as pl

from quant_assets.portfolio.score_inputs import INPUTS
from quant_assets.portfolio.scores import FACTORS
from quant_assets.reporting.ops_report import number, percent
from quant_assets.reporting.pages import counted, environment
from quant_assets.reporting.stock_data import FIGURES, Stock

#: How inputs are written; the others as percentages.
_NUMBERS = {"debt_to_equity": 2, "beta_120": 2, "amihud_120": 5}


def shown(name: str, value: float | None) -> str:
    """The value of an input for a reader; a dash where it is missing."""
    return number(value, _NUMBERS[name]) if name in _NUMBERS else percent(value)


def score_rows(stock: Stock) -> list[dict[str, Any]]:
    """A row for each input: factor, name, value in words, percentile, and the sector's median."""
    return [
        {
            "factor": score_input.factor,
            "name": score_input.name.replace("_", " "),
            "best": score_input.best,
            "value": shown(score_input.name, stock.score[score_input.name]),
            "percentile": stock.percentiles[score_input.name],
            "median": shown(score_input.name, stock.peers[score_input.name].median()),  # type: ignore[arg-type]
        }
        for score_input in INPUTS
    ]


def ml_line(stock: Stock) -> str:
    """What the forecasts say, in a sentence."""
    score = stock.score
    if not score["ml_forecasts"]:
        return "no forecast at this session: momentum is its technical part alone"
    weights = stock.settings
    share = weights.ml_weight / (weights.ml_weight + weights.technical_weight)
    return (
        f"{number(score['ml'], 0)} of 100 by {counted(score['ml_forecasts'], 'forecast')}: signal "
        f"{number(score['ml_signal'], 4, sign=True)}, confidence {number(score['ml_confidence'], 2)}; "
        f"{percent(share, 0)} of momentum"
    )


def render(stock: Stock, market: str | None = None) -> bytes:
    """The page: one self-contained HTML file (UTF-8) without scripts, the same bytes for the same content.

    `market` is a word of warning beside the title, for a market that is not a real one.
    """
    from quant_assets.reporting.stock_plot import stock_svg  # matplotlib is loaded by those who draw only

    page = (
        _templates()
        .get_template("stock_page.html")
        .render(
            stock=stock,
            market=market,
            factors=FACTORS,
            inputs=score_rows(stock),
            ml=ml_line(stock),
            forecasts=stock.forecasts.to_dicts(),
            figures=FIGURES,
            statements=stock.statements.with_columns(pl.col(FIGURES) / 1e6).to_dicts(),
            plots=stock_svg(stock),
        )
    )
    return page.encode()


@cache
def _templates() -> jinja2.Environment:
    templates = environment("quant_assets.reporting")
    templates.filters |= {"percent": percent, "number": number}
    return templates
