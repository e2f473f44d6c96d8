"""Datasets of the research group: what factors were worth, by month, over years, and across the sectors."""

import polars as pl

from quant_assets.grains import MONTHLY
from quant_assets.schemas.columns import HORIZON, as_of, ratio
from quant_assets.schemas.dataset import Column, Dataset

#: Quantiles that a cross-section is cut into.
QUANTILES = 5

_KEY = ("as_of", "kind", "factor", "horizon")

_ANCHORED = "judges features that are anchored at the first bar (`*_to_peak`), and models that see them"


def _factor() -> dict[str, Column]:
    return {
        "kind": Column(
            pl.String,
            "whether the factor is a model input, a score of the candidates, or a model's forecast",
            isin=("feature", "candidate_score", "model"),
        ),
        "factor": Column(pl.String, "name of the feature, score or model"),
        "horizon": HORIZON,
    }


def _count(meaning: str, unit: str = "sessions") -> Column:
    return Column(pl.Int32, meaning, unit, ge=0)


def _counts() -> dict[str, Column]:
    return {
        "ic_sessions": _count("sessions with an information coefficient"),
        "quantile_sessions": _count("sessions in which names could be cut into quantiles and had forward returns"),
        "turnover_sessions": _count("sessions whose quantiles could be compared with those `horizon` sessions later"),
        "rank_sessions": _count("sessions whose ranks could be compared with those `horizon` sessions later"),
        "names": Column(
            pl.Float64, "mean number of names with a value and a forward return", "tickers", nullable=True, ge=2
        ),
    }


def _returns_and_turnover() -> dict[str, Column]:
    which = {1: " (lowest values)", QUANTILES: " (highest values)"}
    quantiles = {
        f"quantile_{number}": ratio(
            f"mean forward return of quantile {number} of {QUANTILES}{which.get(number, '')} less that of all "
            "names of the session"
        )
        for number in range(1, QUANTILES + 1)
    }
    return quantiles | {
        "top_turnover": ratio(
            "share of the highest quantile's names `horizon` sessions later that are not in it now", ge=0, le=1
        ),
        "bottom_turnover": ratio(
            "share of the lowest quantile's names `horizon` sessions later that are not in it now", ge=0, le=1
        ),
        "rank_autocorrelation": ratio("correlation of the names' ranks now and `horizon` sessions later", ge=-1, le=1),
    }


RESEARCH = (
    Dataset(
        "factor_statistics",
        "How well each factor predicted the returns after it: "
        "means over the cross-sections whose last label became known in the month",
        _KEY,
        "as_of",
        "as_of",
        {
            "as_of": as_of(),
            **_factor(),
            **_counts(),
            "ic": ratio(
                "mean over the sessions of Spearman's correlation across names of factor and forward return",
                ge=-1,
                le=1,
            ),
            "ic_std": ratio("standard deviation of the sessions' correlations (divided by their number)", ge=0),
            **_returns_and_turnover(),
        },
        across="sector",
        anchored=_ANCHORED,
    ),
    Dataset(
        "factor_tear_sheet",
        "What each factor was worth over the months up to the decision, "
        "with the error of its information coefficient; the page is a file",
        _KEY,
        "as_of",
        "as_of",
        {
            "as_of": as_of(),
            **_factor(),
            "months": _count("months with an information coefficient", "months"),
            **_counts(),
            "ic": ratio(
                "mean over the sessions of Spearman's correlation across names of factor and forward return",
                ge=-1,
                le=1,
            ),
            "ic_std": ratio("standard deviation of the sessions' correlations (sample)", ge=0),
            "ic_standard_error": ratio(
                "Newey-West standard error of `ic` over months; null with too few months for the horizon", gt=0
            ),
            "ic_t": ratio("`ic` over its standard error"),
            **_returns_and_turnover(),
            "page_file": Column(pl.String, "HTML page, relative to the profile's storage"),
        },
        across="sector",
        anchored=_ANCHORED,
    ),
    Dataset(
        "market_tear_sheet",
        "What each factor was worth over all sectors with a tear sheet; the page, sector by sector, is a file",
        _KEY,
        "as_of",
        "as_of",
        {
            "as_of": as_of(),
            **_factor(),
            "sectors": _count("sectors with an information coefficient", "sectors"),
            "ic": ratio(
                "mean of the sectors' information coefficients, weighted by names times sessions",
                nullable=False,
                ge=-1,
                le=1,
            ),
            "lowest_ic": ratio("lowest of the sectors' information coefficients", nullable=False, ge=-1, le=1),
            "highest_ic": ratio("highest of the sectors' information coefficients", nullable=False, ge=-1, le=1),
            "positive_sectors": _count("sectors whose information coefficient is above 0", "sectors"),
            "significant_sectors": _count(
                "sectors whose |ic_t|, of either sign, has a probability of 5 % by chance", "sectors"
            ),
            "spread": ratio("mean over sectors of quantile 5 less quantile 1, weighted in the same way"),
            "page_file": Column(pl.String, "HTML page, relative to the profile's storage"),
        },
        grain=MONTHLY,
        across="market",
        anchored=_ANCHORED,
    ),
)
