"""Datasets of the operations and SQL groups: reports, scorecards and data quality."""

from dataclasses import replace

import polars as pl

from quant_assets.schemas.columns import LEARNED, as_of, ratio
from quant_assets.schemas.dataset import Column, Dataset, Reference
from quant_assets.schemas.figures import FIGURES
from quant_assets.schemas.signals import SIGNALS

OPERATIONS = (
    Dataset(
        "ops_report",
        "Figures of the sector's report; the page itself is the named HTML file",
        ("as_of", "metric", "window"),
        "as_of",
        "as_of",
        {
            "as_of": as_of(),
            "metric": Column(pl.String, "which figure it is", values=FIGURES),
            "window": Column(
                pl.String,
                "what the figure covers: the month up to as_of, the report's history (report.history_months), or the "
                "track record "
                "since its first execution",
                isin=("month", "history", "to_date"),
            ),
            "value": Column(pl.Float64, "the figure; null where it is not defined", nullable=True),
            "unit": Column(pl.String, "what `value` is counted in; 1 for a ratio"),
            "report_file": Column(pl.String, "HTML page, relative to the profile's storage"),
        },
        across="sector",
        anchored=LEARNED,
    ),
    Dataset(
        "sector_scorecard",
        "Breadth, momentum, volatility, candidates and regime of the sector at the decision (SQL)",
        ("as_of",),
        "as_of",
        "as_of",
        {
            "as_of": as_of(),
            "members": Column(pl.Int32, "names of the sector that have a bar on the session", ge=1),
            "above_moving_average": ratio("share of members above their moving average", ge=0, le=1),
            "median_momentum": ratio(
                "median over the sector's members of the return that dataset indicators calls momentum", gt=-1
            ),
            "median_volatility": ratio("median over the sector's members of the annualised GARCH volatility", ge=0),
            "longs": Column(pl.Int32, "how many names dataset candidates has as long", ge=0),
            "shorts": Column(pl.Int32, "how many names dataset candidates has as short", ge=0),
            "best_long": Column(pl.String, "long candidate of rank 1", nullable=True),
            "regime": Column(
                pl.String,
                "risk_on or risk_off, as dataset regime_state says of the sector",
                nullable=True,
                isin=("risk_on", "risk_off"),
            ),
        },
        across="sector",
        references=(Reference(("best_long", "as_of"), "candidates", ("ticker", "as_of")),),
    ),
    Dataset(
        "data_quality",
        "What the provider delivered: bars, refused and doubted bars, member sessions with and without a bar (SQL)",
        ("as_of",),
        "as_of",
        "as_of",
        {
            "as_of": as_of(),
            "tickers": Column(pl.Int32, "tickers of the sector with a bar", ge=0),
            "bars": Column(pl.Int32, "bars of tickers in the sector", ge=0),
            "refused_bars": Column(pl.Int32, "bars that were refused: rows of dataset quarantine", ge=0),
            "bars_without_open": Column(pl.Int32, "of `bars`, those used without an open", ge=0),
            "unexplained_bars": Column(pl.Int32, "of `bars`, those whose move nothing explains", ge=0),
            "repaired_events": Column(pl.Int32, "bars in price_events whose splits or dividends were repaired", ge=0),
            "listed_events": Column(pl.Int32, "bars in price_events that are only listed and used as given", ge=0),
            "member_sessions": Column(pl.Int32, "pairs of a session and an index member of the sector on it", ge=1),
            "member_bars": Column(pl.Int32, "of `member_sessions`, those with a bar in dataset ohlcv", ge=0),
        },
        across="sector",
        references=(Reference(("as_of",), "universe", ("date",)),),
    ),
    replace(
        next(dataset for dataset in SIGNALS if dataset.name == "candidates"),
        name="candidates_sql",
        meaning="The candidates selected a second time, in SQL, to check the first (SQL)",
    ),
)
