"""Figures for the valuation of companies as known at a session: multiples, cash flows, shares, factor characteristics.

They are declared and computed like the features of `fundamental`, from the same statements, but are no model inputs:
dataset `scores` has them at its decisions. EBITDA is operating income plus depreciation and amortisation; free cash
flow is cash flow from operations (after interest) less spending on fixed assets and intangibles, both of one year (four
quarters or an annual statement). Net debt is debt less cash. Amounts and shares are those of the whole company, and
`…_per_share` is per share as traded at the session, so that a split changes price and value by the same factor.
"""

import polars as pl

from quant_assets.features.fundamental import FEATURES, MARKET_VALUE, VALUED, StatementFeature, over

_SHARES = pl.col("split_factor") * pl.col("shares")
_NET_DEBT = pl.col("total_debt") - pl.col("cash")
_ENTERPRISE = MARKET_VALUE + _NET_DEBT
_OF_ENTERPRISE = (*VALUED, "total_debt", "cash")

#: Model features that dataset `scores` uses too.
SHARED = (
    "earnings_yield",
    "book_to_market",
    "return_on_equity",
    "debt_to_equity",
    "operating_margin",
    "net_margin",
    "revenue_growth",
    "statement_age_days",
)

VALUATION: tuple[StatementFeature, ...] = (
    *(feature for feature in FEATURES if feature.name in SHARED),
    StatementFeature(
        "ebitda",
        ("operating_income", "depreciation"),
        0,
        pl.col("operating_income") + pl.col("depreciation"),
        "operating income plus depreciation of the newest year with both",
        "USD",
        of_a_year=True,
    ),
    StatementFeature(
        "free_cash_flow",
        ("operating_cash_flow", "capital_expenditure"),
        0,
        pl.col("operating_cash_flow") + pl.col("capital_expenditure"),
        "cash flow from operations less spending on fixed assets, of the newest year with both",
        "USD",
        of_a_year=True,
    ),
    StatementFeature(
        "asset_growth",
        ("total_assets", "total_assets_before"),
        0,
        over(pl.col("total_assets"), pl.col("total_assets_before")) - 1.0,
        "total assets over those of a year before, less 1",
        source="Cooper, Gulen and Schill (2008), Journal of Finance 63; the investment of Fama and French (2015)",
        of_a_year=True,
    ),
    StatementFeature("market_value", VALUED, 0, MARKET_VALUE, "close as traded times shares outstanding", "USD"),
    StatementFeature(
        "shares_outstanding", VALUED, 0, _SHARES, "shares of the newest statement, later splits applied", "shares"
    ),
    StatementFeature(
        "net_debt", ("total_debt", "cash"), 0, _NET_DEBT, "newest known debt less newest known cash", "USD"
    ),
    StatementFeature(
        "price_to_earnings",
        ("net_income", *VALUED),
        0,
        over(MARKET_VALUE, pl.col("net_income")),
        "market value over net income of the newest known year; null after a loss",
    ),
    StatementFeature(
        "price_to_book",
        ("total_equity", *VALUED),
        0,
        over(MARKET_VALUE, pl.col("total_equity")),
        "market value over newest known total equity; null where that is not positive",
    ),
    StatementFeature(
        "ev_to_ebitda",
        ("ebitda", *_OF_ENTERPRISE),
        0,
        pl.when(_ENTERPRISE > 0.0).then(over(_ENTERPRISE, pl.col("ebitda"))),
        "market value plus net debt, over EBITDA; null where one of the two is not positive",
    ),
    StatementFeature(
        "ebitda_yield",
        ("ebitda", *_OF_ENTERPRISE),
        0,
        over(pl.col("ebitda"), _ENTERPRISE),
        "EBITDA over market value plus net debt; null where the latter is not positive",
        source="Loughran and Wellman (2011), Journal of Financial and Quantitative Analysis 46",
    ),
    StatementFeature(
        "return_on_assets",
        ("net_income", "total_assets"),
        0,
        over(pl.col("net_income"), pl.col("total_assets")),
        "net income of the newest known year over total assets",
    ),
    StatementFeature(
        "operating_profitability",
        ("operating_income", "total_equity"),
        0,
        over(pl.col("operating_income"), pl.col("total_equity")),
        "operating income of the newest known year over total equity",
        source="near Fama and French (2015), Journal of Financial Economics 116, who subtract interest",
    ),
    StatementFeature(
        "earnings_per_share",
        ("net_income", *VALUED),
        0,
        over(pl.col("net_income"), _SHARES),
        "net income of the newest known year by share",
        "USD",
    ),
    StatementFeature(
        "book_per_share",
        ("total_equity", *VALUED),
        0,
        over(pl.col("total_equity"), _SHARES),
        "newest known total equity by share",
        "USD",
    ),
)
