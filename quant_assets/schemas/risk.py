"""Datasets of risk: value at risk of what is held, where it comes from, what was forecast and came."""

from collections.abc import Mapping

import polars as pl

from quant_assets.grains import MONTHLY, SECTOR_MONTHLY, Grain
from quant_assets.schemas.columns import LEARNED, as_of, day, ratio, ticker
from quant_assets.schemas.dataset import Column, Dataset

_METHODS = ("historical", "filtered_historical", "cornish_fisher", "student_t", "normal")

_METHOD = Column(
    pl.String, "how the loss is estimated: from past returns, scaled by volatility, or by a distribution", isin=_METHODS
)
_LEVEL = ratio("probability that the loss stays below the value at risk, such as 0.99", nullable=False, gt=0.5, le=1)
_REASON = Column(pl.String, "why a figure is null", nullable=True)


def _losses(over: str) -> dict[str, Column]:
    return {
        "value_at_risk": ratio(
            f"loss over {over} that is not exceeded with the probability `level`, as a positive fraction"
        ),
        "expected_shortfall": ratio(f"mean loss over {over} in the worst share 1 - `level`, as a positive fraction"),
        "reason": _REASON,
    }


def _probability(meaning: str) -> Column:
    return ratio(meaning, ge=0, le=1)


def _risk() -> Mapping[str, Column]:
    return {
        "as_of": as_of(),
        "method": _METHOD,
        "level": _LEVEL,
        "horizon": Column(pl.Int32, "sessions ahead", "sessions", ge=1),
        **_losses("the horizon"),
        "observations": Column(pl.Int32, "past returns of the holdings that it is estimated on", "sessions", ge=0),
        "tested_sessions": Column(
            pl.Int32,
            "sessions of the stored forecasts with a return, of one session ahead; null like the tests where there "
            "are none, and of longer horizons",
            "sessions",
            nullable=True,
            ge=1,
        ),
        "exceptions": Column(
            pl.Int32, "tested sessions whose loss was greater than forecast", "sessions", nullable=True, ge=0
        ),
        "kupiec_p": _probability("probability of an exception count as far from the expected one by chance"),
        "independence_p": _probability("Christoffersen: of exceptions that follow each other so by chance"),
        "conditional_coverage_p": _probability("Christoffersen: of both by chance"),
        "acerbi_szekely": ratio("second statistic of expected shortfall; 0 is expected, less where it was understated"),
        "acerbi_szekely_p": _probability("probability of so low a statistic where the model is right"),
        "traffic_light": Column(
            pl.String, "Basel's zone of the exceptions", nullable=True, isin=("green", "yellow", "red")
        ),
        "page_file": Column(pl.String, "HTML page, relative to the profile's storage"),
    }


def _breakdown() -> Mapping[str, Column]:
    return {
        "as_of": as_of(),
        "part": Column(
            pl.String,
            "what `item` names: the whole, a holding, a sector, a supposed shock, a factor, or a past episode",
            isin=("portfolio", "position", "sector", "shock", "factor", "episode"),
        ),
        "item": Column(pl.String, "ticker, sector, shock, factor or episode; `total` of the whole"),
        "figure": Column(
            pl.String,
            "weight; contribution to volatility (annualised), normal value at risk and historical expected shortfall "
            "of one session, which sum to the total; sessions_to_sell; return_in_ an episode; beta; exposure to a "
            "factor, in standard deviations; loss (positive); coverage: share of the "
            "weights' sizes that traded in the episode, the rest being held against its sector's return",
        ),
        "value": Column(
            pl.Float64, "what `figure` comes to: a fraction, or sessions where its name says so", "1", nullable=True
        ),
        "reason": _REASON,
    }


def _forecasts() -> Mapping[str, Column]:
    return {
        "date": day("session that the forecast is of"),
        "method": _METHOD,
        "level": _LEVEL,
        "decided": Column(pl.Date, "session whose decision is held, that of the month before"),
        **_losses("the session, as forecast at the close before"),
        "portfolio_return": ratio("of the decision's weights on the session, before costs; null where too few trade"),
        "exception": Column(pl.Boolean, "whether the loss was greater than the value at risk", nullable=True),
    }


def _of(prefix: str, whose: str, grain: Grain, across: str) -> tuple[Dataset, ...]:
    shared = {"grain": grain, "across": across, "anchored": LEARNED}
    return (
        Dataset(
            f"{prefix}var_forecasts",
            f"Value at risk of {whose} forecast for each session, and the outcome",
            ("date", "method", "level"),
            "date",
            "date",
            _forecasts(),
            **shared,  # type: ignore[arg-type]
        ),
        Dataset(
            f"{prefix}risk_breakdown",
            f"Where the risk of {whose} comes from, what shocks and past episodes would cost, and how fast it sells",
            ("as_of", "part", "item", "figure"),
            "as_of",
            "as_of",
            _breakdown(),
            **shared,  # type: ignore[arg-type]
        ),
        Dataset(
            f"{prefix}risk",
            f"Value at risk and expected shortfall of {whose} at the decision, "
            "with back-tests of the forecasts so far; the page is a file",
            ("as_of", "method", "level", "horizon"),
            "as_of",
            "as_of",
            _risk(),
            **shared,  # type: ignore[arg-type]
        ),
    )


RISK = (
    Dataset(
        "episode_returns",
        "What the sector's names returned in market episodes that ended in the month",
        ("ticker", "episode"),
        "last",
        "last",
        {
            "ticker": ticker(),
            "episode": Column(pl.String, "name of the episode in the settings"),
            "first": Column(pl.Date, "session from whose close on it is measured"),
            "last": Column(pl.Date, "last session of the episode"),
            "episode_return": ratio("total return of the ticker from `first` to `last`", nullable=False, ge=-1),
            "sector_return": ratio(
                "equal-weight return of the sector's members from `first` to `last`",
                nullable=False,
                ge=-1,
            ),
        },
        across="sector",
    ),
    *_of("", "the sector's weights", SECTOR_MONTHLY, "sector"),
    *_of("portfolio_", "the total portfolio", MONTHLY, "market"),
)
