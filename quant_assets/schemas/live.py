"""Datasets of each day from the go-live day on: the ledger of what was said, the orders and the report of the day.

No job over months and no audit has them among its assets.
"""

import polars as pl

from quant_assets.grains import DAILY, SECTOR_DAILY
from quant_assets.schemas.columns import LEARNED, day, ratio, ticker
from quant_assets.schemas.dataset import Column, Dataset
from quant_assets.schemas.trading import order_columns

LIVE = (
    Dataset(
        "decisions",
        "The ledger: forecasts, candidates and weights recorded at the close of the session, with their inputs; "
        "written once and never changed",
        ("ticker", "date", "item", "model", "horizon"),
        "date",
        "date",
        {
            "ticker": ticker(),
            "date": day("session at whose close it was recorded"),
            "item": Column(pl.String, "what the row records", isin=("forecast", "candidate", "weight")),
            "model": Column(
                pl.String, "model of a forecast, or whose forecasts a weight follows; composite_score where none is"
            ),
            "horizon": Column(pl.Int32, "sessions from entry to exit; 0 for a selection score", ge=0),
            "value": ratio(
                "forecast: forward return; candidate: selection score, in standard deviations; "
                "weight: share of the sector's capital",
                nullable=False,
            ),
            "std": ratio("standard deviation of a forecast", gt=0),
            "lower": ratio("lower end of a forecast's interval, as in predictions"),
            "upper": ratio("upper end of the interval of a forecast"),
            "prob_up": ratio("a forecast's probability of a positive return", ge=0, le=1),
            "side": Column(
                pl.String,
                "whether the candidate or weight is long (bought) or short (sold)",
                nullable=True,
                isin=("long", "short"),
            ),
            "rank": Column(pl.Int32, "rank of a candidate or weight, 1 the best of its side", nullable=True, ge=1),
            "model_version": Column(
                pl.String,
                "first characters of the hash of the model's file, as in dataset predictions",
                nullable=True,
            ),
            "late": Column(
                pl.Int32,
                "sessions that closed between this one and the recording: above 0 the row is what would have been "
                "recorded in time, with what was known of that day by then",
                "sessions",
                ge=0,
            ),
            "inputs": Column(
                pl.String,
                "JSON: of each dataset that it follows from the hashes of the month's partition and of the day's rows, "
                "and the digests of code and settings that made them",
            ),
        },
        grain=SECTOR_DAILY,
        across="sector",
        anchored=LEARNED,
        said=("value", "std", "lower", "upper", "prob_up", "side", "rank", "model_version"),
    ),
    Dataset(
        "daily_orders",
        "The orders that bring the holdings to the weights recorded at the session; written once and never changed",
        ("ticker", "date"),
        "date",
        "date",
        {
            "ticker": ticker(),
            "date": day("session at whose close it was recorded"),
            **order_columns(),
            "held_by": Column(
                pl.String, "whose holdings: the backtest's, or the file of `live.holdings`", isin=("backtest", "file")
            ),
            "late": Column(pl.Int32, "sessions that closed between this one and the recording", "sessions", ge=0),
        },
        grain=SECTOR_DAILY,
        across="sector",
        anchored=LEARNED,
        said=(*order_columns(), "held_by"),
    ),
    Dataset(
        "daily_report",
        "Figures of the day over the sectors of the ledger; the page itself is the named HTML file",
        ("date", "sector", "metric"),
        "date",
        "date",
        {
            "date": day(),
            "sector": Column(pl.String, "GICS sector, by its short name such as `it`"),
            "metric": Column(pl.String, "which figure of the day's report it is"),
            "value": Column(pl.Float64, "the figure; null where it is not defined", nullable=True),
            "unit": Column(pl.String, "what `value` is counted in; 1 for a ratio"),
            "report_file": Column(pl.String, "HTML page, relative to the profile's storage"),
        },
        grain=DAILY,
        across="market",
        anchored=LEARNED,
    ),
)
