"""Datasets of the sleeves: crypto-currencies at sessions, and the shares of equities, crypto and cash."""

import polars as pl

from quant_assets.grains import MONTHLY
from quant_assets.schemas.columns import LEARNED, as_of, day, ratio
from quant_assets.schemas.dataset import Column, Dataset


def _share(meaning: str) -> Column:
    return ratio(meaning, nullable=False, ge=0, le=1)


SLEEVES = (
    Dataset(
        "crypto",
        "What crypto-currencies were worth when sessions closed: the newest daily bar that had ended by then",
        ("ticker", "date"),
        "date",
        "date",
        {
            "ticker": Column(pl.String, "the provider's symbol"),
            "date": day("session at whose close the bar is the newest that had ended"),
            "close": Column(pl.Float64, "last price of the newest bar that had ended", "quote currency", gt=0),
            "bar": day("UTC day of the bar, which ended at the midnight after it"),
        },
        grain=MONTHLY,
    ),
    Dataset(
        "sleeve_allocation",
        "Shares of equities (the total portfolio), crypto-currencies and cash, and what they follow from",
        ("as_of",),
        "as_of",
        "as_of",
        {
            "as_of": as_of(),
            "equities": _share("share of the total portfolio"),
            "crypto": _share("share of the coins, held in equal parts"),
            "cash": _share("share that is neither in equities nor in crypto"),
            "method": Column(pl.String, "how the risky sleeves are weighed", isin=("erc", "mvo_reg")),
            "multiplier": ratio("exposure that the market's regime asks for", nullable=False, ge=0),
            "equity_volatility": ratio(
                "annualised volatility of the equity sleeve; null where too little is known", ge=0
            ),
            "crypto_volatility": ratio(
                "annualised volatility of the crypto sleeve; null where too little is known", ge=0
            ),
            "portfolio_volatility": ratio(
                "annualised volatility of all sleeves together, cash at 0; null where a held sleeve has none", ge=0
            ),
            "crypto_risk": ratio("crypto's share of the variance; null without any variance"),
            "held_equities": ratio(
                "share of the total portfolio before the decision, after its drift; null without one", ge=0, le=1
            ),
            "held_crypto": ratio(
                "share of the coins before the decision, after its drift; null without one", ge=0, le=1
            ),
            "rebalanced": Column(pl.Boolean, "false where what is held is kept"),
            "reason": Column(pl.String, "why the shares are what they are, in words"),
            "since": day("first decision of those whose holdings are carried up to this one"),
        },
        grain=MONTHLY,
        across="market",
        anchored=LEARNED,
    ),
)
