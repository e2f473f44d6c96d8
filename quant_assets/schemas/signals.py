"""Datasets of the signals group: candidates and labels.

Indicators and features are declared where they are computed.
"""

import polars as pl

from quant_assets.schemas.columns import HORIZON, MEMBER_AS_OF, as_of, day, ratio, ticker
from quant_assets.schemas.dataset import Column, Dataset, Reference

SIGNALS = (
    Dataset(
        "candidates",
        "Long and short candidates by selection score at the month's last session",
        ("ticker", "as_of"),
        "as_of",
        "as_of",
        {
            "ticker": ticker(),
            "as_of": as_of(),
            "candidate_type": Column(
                pl.String,
                "long: among the highest selection scores, to be bought; short: among the lowest, to be sold or "
                "avoided",
                isin=("long", "short"),
            ),
            "selection_rank": Column(pl.Int32, "1 is the highest score among longs, the lowest among shorts", ge=1),
            "composite_score": Column(
                pl.Float64,
                "selection score: weighted sum of momentum_score, ma_slope_score and volatility_score (settings "
                "candidates.*_weight)",
                "standard deviations",
            ),
            "momentum_score": Column(
                pl.Float64, "price momentum, standardised across the sector", "standard deviations"
            ),
            "ma_slope_score": Column(
                pl.Float64, "moving-average slope, standardised across the sector", "standard deviations"
            ),
            "volatility_score": Column(
                pl.Float64, "preference for low GARCH volatility, standardised; 0 where missing", "standard deviations"
            ),
            "universe_count": Column(pl.Int32, "members of the sector at as_of", ge=1),
            "eligible_count": Column(pl.Int32, "members that passed the filters", ge=1),
        },
        across="sector",
        unique=(("as_of", "candidate_type", "selection_rank"),),
        references=(MEMBER_AS_OF, Reference(("ticker", "as_of"), "indicators", ("ticker", "date"))),
    ),
    Dataset(
        "labels",
        "Forward returns; a row is absent until its last price is known",
        ("ticker", "date", "horizon"),
        "date",
        "known_at",
        {
            "ticker": ticker(),
            "date": day("session whose close gives the signal"),
            "horizon": HORIZON,
            "forward_return": ratio("adjusted return from entry to exit", nullable=False, ge=-1),
            "entry_date": day("session at whose close the position is entered"),
            "exit_date": day("session of the last price used"),
            "known_at": day(
                "session at which the last price needed had closed, or the delisting was known; one that nobody stated "
                "is given ten sessions after the exit to prove wrong"
            ),
            "delisted": Column(
                pl.Boolean, "true where a delisting within the horizon ended the label at the last price"
            ),
            "unexplained": Column(
                pl.Boolean,
                "true where the way from entry to exit crosses a step that nothing explains and that does not count by "
                "the rule of `market.containment`: a rise, or a fall that takes one back. The return is as it is; "
                "training and factor statistics leave the row out",
            ),
        },
        references=(Reference(("ticker", "date"), "universe", ("ticker", "date")),),
    ),
)
