"""Datasets of the market group: what providers deliver, screened, adjusted and dated."""

from dataclasses import replace

import polars as pl

from quant_assets.grains import MONTHLY
from quant_assets.schemas.columns import FIRST_BAR, as_of, day, money, price, ratio, ticker
from quant_assets.schemas.dataset import Column, Dataset

PANEL = {
    "in_sector": Column(
        pl.Boolean,
        "whether the ticker belonged to this sector on the date; false for rows kept for tickers that left the sector, "
        "and for the earlier bars of one that moved in. Filter on it for a panel without repeats across sectors",
    ),
    "panel_from": Column(
        pl.Date,
        "session from which the row is part of this sector's panel: its own date, or for the earlier bars of a ticker "
        "that moved in the session it moved",
    ),
}

UNEXPLAINED = Column(
    pl.Boolean,
    "whether the total return from the company's bar before goes beyond `bars.events.extreme_move` and nothing "
    "explains it: no event, reported or repaired, makes it ordinary, and no other provider upholds it; or whether it "
    "takes such a step back within `bars.events.reversal_days`. Known at the "
    "bar's own close. The price stands as given; the return is not to be relied on",
)

LISTED = replace(
    day(
        "first session of the company's bars: a symbol that trades again after a delisting that was not taken back is "
        "another company's, whose history starts anew"
    ),
    anchored=FIRST_BAR,
)

BAR = {
    "ticker": ticker(),
    "date": day(),
    "listed": LISTED,
    "open": replace(
        price("first price of the session; null where the provider has none, or one far beyond high or low"),
        nullable=True,
    ),
    "high": price("highest price of the session"),
    "low": price("lowest price of the session"),
    "close": price("last price of the session"),
    "volume": Column(pl.Float64, "shares traded", "shares", ge=0),
}

#: What `market.events` finds.
KINDS = (
    "split_in_dividend",
    "double_event",
    "dividend_not_taken",
    "split_not_taken",
    "split_unflagged",
    "spin_off_unflagged",
    "spin_off_in_split",
    "spin_off",
    "split_disputed",
    "adjustment_error",
    "unexplained_move",
    "reversal",
)

#: The OHLCV quantities and means whose running maximum is carried from month to month.
OHLCV_FIELDS = ("open", "high", "low", "close", "volume")
OHLCV_MEANS = (1, 5, 10, 20, 30)


def ohlcv_quantity(name: str, sessions: int) -> str:
    """Column name of a quantity: `close` for one session, `close_mean_5` for its 5-session mean."""
    return name if sessions == 1 else f"{name}_mean_{sessions}"


OHLCV_QUANTITIES = tuple(ohlcv_quantity(name, n) for n in OHLCV_MEANS for name in OHLCV_FIELDS)


def _anchored(name: str) -> Column:
    """A column of `prices`: that of `ohlcv` times the factor that carries it from the company's first bar."""
    factor, unit = ("volume_factor", "shares of the first bar") if name == "volume" else ("price_factor", "index")
    said = f"`{name}` times `{factor}` of `ohlcv`: {BAR[name].meaning}"
    return replace(BAR[name], meaning=said, unit=unit, anchored=FIRST_BAR)


def _peak(name: str) -> str:
    """What a column of `price_peaks` says: `open`, or the mean over five sessions `open_mean_5`."""
    quantity, _, sessions = name.partition("_mean_")
    of = f"mean {quantity} over {sessions} sessions" if sessions else f"{quantity} of a session"
    return f"largest {of} since the first bar, in the unit of dataset prices (forward-anchored)"


MARKET = (
    Dataset(
        "universe",
        "Index members of each session with the sector known at the time; "
        "members without any sector snapshot are in no sector's",
        ("ticker", "date"),
        "date",
        "date",
        {
            "ticker": ticker(),
            "date": day(),
            "sector_assumed": Column(
                pl.Boolean, "true before the ticker's first sector snapshot, which is then assumed"
            ),
        },
    ),
    Dataset(
        "ohlcv",
        "Daily bars as the provider gives them (in USD, adjusted as `adjustment` says), "
        "with the corporate actions used and the factors carried from the first bar",
        ("ticker", "date"),
        "panel_from",
        "panel_from",
        {
            **BAR,
            "dividend": Column(
                pl.Float64,
                "cash dividend with this ex-date, as used (see `price_events`); null where the provider has none",
                "USD per share",
                nullable=True,
                ge=0,
            ),
            "split_ratio": Column(
                pl.Float64,
                "new shares for one old on this ex-date, as used (see `price_events`), "
                "1 without a split; null where unknown",
                "1",
                nullable=True,
                gt=0,
            ),
            "adjustment": Column(
                pl.String,
                "what the provider already adjusted for",
                isin=("as_traded", "split_adjusted", "total_return"),
            ),
            "provider": Column(pl.String, "which provider the bar comes from"),
            "price_factor": Column(
                pl.Float64, "times a price: the forward-anchored adjusted price", "1", gt=0, anchored=FIRST_BAR
            ),
            "volume_factor": Column(
                pl.Float64, "times the volume: the volume in shares of the first bar", "1", gt=0, anchored=FIRST_BAR
            ),
            "split_factor": Column(
                pl.Float64,
                "shares now for one share at the first bar, by the splits known",
                "1",
                gt=0,
                anchored=FIRST_BAR,
            ),
            "traded_factor": Column(
                pl.Float64,
                "times a price: the price as traded. 1 for as-traded bars; for adjusted bars after them carried "
                "forward by the provider's splits and dividends; null before the first as-traded bar",
                "1",
                nullable=True,
                gt=0,
            ),
            "traded_volume_factor": Column(
                pl.Float64,
                "times the volume: shares as traded. 1 for as-traded bars; for adjusted bars after them by the volumes "
                "of sessions that both providers have, carried forward by the splits; "
                "null before the first as-traded bar",
                "1",
                nullable=True,
                gt=0,
            ),
            "unexplained": UNEXPLAINED,
            **PANEL,
        },
    ),
    Dataset(
        "quarantine",
        "Bars that were refused, each with the reason",
        ("ticker", "date", "provider", "row"),
        "known_at",
        "known_at",
        {
            "ticker": ticker(),
            "date": day("day of the bar, which may be none of trading"),
            "known_at": day("first session on or after the bar's day: the one whose run finds the bar"),
            "provider": Column(pl.String, "which provider the bar comes from"),
            "row": Column(
                pl.Int32, "number of the row among the provider's rows of this ticker and date, from 0", ge=0
            ),
            "reason": Column(
                pl.String,
                "the rule that the bar breaks",
                isin=(
                    "not_a_session",
                    "missing_price",
                    "missing_volume",
                    "non_positive_price",
                    "negative_volume",
                    "ohlc_violation",
                    "stale_zero_volume",
                    "duplicate",
                    "disputed_stale_close",
                    "decimal_point",
                    "denied_move",
                    "unjoined",
                ),
            ),
            "open": Column(pl.Float64, "first price of the session, as the provider gave it", "USD", nullable=True),
            "high": Column(pl.Float64, "highest price of the session, as the provider gave it", "USD", nullable=True),
            "low": Column(pl.Float64, "lowest price of the session, as the provider gave it", "USD", nullable=True),
            "close": Column(pl.Float64, "last price of the session, as the provider gave it", "USD", nullable=True),
            "volume": Column(
                pl.Float64, "shares traded in the session, as the provider gave them", "shares", nullable=True
            ),
        },
    ),
    Dataset(
        "price_events",
        "Splits, dividends and jumps that do not fit the prices: "
        "marked, repaired or only listed, by the rules of `market.events`",
        ("ticker", "date", "provider"),
        "panel_from",
        "panel_from",
        {
            "ticker": ticker(),
            "date": day("session of the bar, at whose close the event was judged"),
            "provider": Column(pl.String, "which provider the bar comes from"),
            "kind": Column(pl.String, "the first rule that the bar meets", isin=KINDS),
            "action": Column(pl.String, "what was done about it", isin=("kept", "repaired", "listed")),
            "split_reported": Column(pl.Float64, "new shares for one old, as given", "1", nullable=True),
            "dividend_reported": Column(
                pl.Float64, "cash dividend of the ex-date, as the provider gave it", "USD per share", nullable=True
            ),
            "split_used": Column(
                pl.Float64, "the split instead; null where none was given and none is used", "1", nullable=True
            ),
            "dividend_used": Column(
                pl.Float64,
                "the dividend instead, the value of shares of a spin-off included",
                "USD per share",
                nullable=True,
            ),
            "price_return": ratio("close over the provider's close before, less 1", nullable=False),
            "reported_return": ratio("total return since then with the events as given", nullable=False),
            "used_return": ratio("total return since then with the events used", nullable=False),
            "other_provider": Column(
                pl.String, "the best other provider with bars on the same two sessions", nullable=True
            ),
            "other_return": ratio("total return of `other_provider` over the same two sessions, as given"),
            "unexplained": Column(pl.Boolean, "whether dataset `ohlcv` has this bar and marks it `unexplained`"),
            "panel_from": PANEL["panel_from"],
        },
        anchored="a reversal undoes what was found in the days before it, as far as the profile has bars of them",
    ),
    Dataset(
        "price_disagreements",
        "Bars on which two providers' total returns, as given, differ by more than `bars.events.disagreement`",
        ("ticker", "date", "provider", "other_provider"),
        "panel_from",
        "panel_from",
        {
            "ticker": ticker(),
            "date": day("session on which both have a bar"),
            "provider": Column(pl.String, "preferred one of the two providers that are compared"),
            "other_provider": Column(pl.String, "less preferred one of the two providers that are compared"),
            "since": day("the session before on which both have a bar: the returns start there"),
            "total_return": ratio("return from `since` to `date`, dividends included, by `provider`", nullable=False),
            "other_return": ratio(
                "return from `since` to `date`, dividends included, by `other_provider`", nullable=False
            ),
            "difference": ratio("`total_return` less `other_return`", nullable=False),
            "explanation": Column(
                pl.String,
                "`event`: one of them has a split or dividend; `stale_close`: "
                "a close repeats the one before; else `price`",
                isin=("event", "stale_close", "price"),
            ),
            "panel_from": PANEL["panel_from"],
        },
    ),
    Dataset(
        "delistings",
        "Tickers that stopped trading, from the session on which that was known or presumed, and which of them trade "
        "again",
        ("ticker", "last_session", "known_at"),
        "known_at",
        "known_at",
        {
            "ticker": ticker(),
            "last_session": day("trading day of the ticker's last bar"),
            "known_at": day("session at which the delisting was known, or at which the ticker traded again"),
            "rule": Column(
                pl.String,
                "how `delisting_return` was found: the provider says takeover, failure or renamed; collapse: no reason "
                "given, but the price had collapsed; unknown. trades_again: the delisting of this `last_session`, "
                "presumed earlier, is taken back from `known_at` on",
                isin=("takeover", "failure", "renamed", "collapse", "unknown", "trades_again"),
            ),
            "delisting_return": Column(
                pl.Float64,
                "return of a holder from the last price to what was paid out, by the rule; "
                "null where unknown, and the last price is taken",
                "1",
                nullable=True,
                ge=-1,
            ),
            "successor": Column(
                pl.String,
                "the new symbol of a company that was renamed: its prices continue; null without one",
                nullable=True,
            ),
        },
    ),
    Dataset(
        "absences",
        "Sessions of index members without a bar in `ohlcv`, each with the reason as known at the month's last session",
        ("as_of", "ticker", "first_session"),
        "as_of",
        "as_of",
        {
            "as_of": as_of(),
            "ticker": ticker(),
            "first_session": day("first of the sessions in a row, within the month"),
            "last_session": day("last of the sessions in a row, within the month"),
            "sessions": Column(pl.Int32, "number of sessions in a row without a bar", "sessions", ge=1),
            "reason": Column(
                pl.String,
                "quarantined: the bars were refused. no_bar_yet: no provider has had a bar of this symbol so far (not "
                "listed yet, or not covered). delisted: it had stopped trading. provider_ended: the providers that had "
                "it have no bars of anybody any more. provider_gap: the provider lacks the session for many. halt: "
                "others have it; no trade, or lost by the provider",
                isin=("quarantined", "no_bar_yet", "delisted", "provider_ended", "provider_gap", "halt"),
            ),
        },
        # A spell is of one reason, and a gap of the provider is told by the others' bars.
        across="sector",
    ),
    Dataset(
        "universe_coverage",
        "How many index members had a sector and a bar, "
        "on the first session of each June up to the month and at its last session",
        ("as_of", "scope", "date", "provider"),
        "as_of",
        "as_of",
        {
            "as_of": as_of(),
            "scope": Column(
                pl.String,
                "members of the whole index, those without a sector too, or of this sector",
                isin=("index", "sector"),
            ),
            "date": day("session on which members and bars are counted"),
            "provider": Column(
                pl.String,
                "provider of the bars, which are looked for under every symbol of the member's company; "
                "`any` for all of them together",
            ),
            "members": Column(
                pl.Int32, "names in the index (or in this sector of it, by `scope`) on `date`", "names", ge=0
            ),
            "with_sector": Column(
                pl.Int32, "of those, with a sector: the others are in no sector's universe", "names", ge=0
            ),
            "with_bar": Column(pl.Int32, "members with a bar of the provider", "names", ge=0),
        },
        across="market",
        anchored="has the first session of each June since the profile's start, "
        "and the providers that had a bar on any of them",
    ),
    Dataset(
        "price_peaks",
        "Highest value so far of each OHLCV quantity, at the close of the month's last session",
        ("ticker", "as_of"),
        "as_of",
        "as_of",
        {"ticker": ticker(), "as_of": as_of(), "listed": LISTED}
        | {
            name: Column(
                pl.Float64,
                _peak(name),
                nullable="_mean_" in name or name == "open",
                ge=0,
                anchored=FIRST_BAR,
            )
            for name in OHLCV_QUANTITIES
        },
        anchored=FIRST_BAR,
    ),
    Dataset(
        "prices",
        "Split- and dividend-adjusted bars: prices are an index, the price in USD as traded at the company's first bar "
        "(a close of 1 where that bar is adjusted), carried forward with splits and dividends reinvested",
        ("ticker", "date"),
        "panel_from",
        "panel_from",
        {
            **BAR,
            **{name: _anchored(name) for name in OHLCV_FIELDS},
            "close_unadjusted": Column(
                pl.Float64,
                "close as traded; null where only adjusted prices are known (before the first as-traded bar)",
                "USD",
                nullable=True,
                gt=0,
            ),
            "dollar_volume": Column(
                pl.Float64,
                "close times volume, both as traded; "
                "null where only adjusted ones are known, whose levels contain later events",
                "USD",
                nullable=True,
                ge=0,
            ),
            "split_factor": Column(
                pl.Float64,
                "shares now for one share at the first bar, by the splits known",
                "1",
                gt=0,
                anchored=FIRST_BAR,
            ),
            "unexplained": UNEXPLAINED,
            **PANEL,
        },
    ),
    Dataset(
        "fundamentals",
        "Statements as they became known; a restatement is a new row",
        ("ticker", "period_end", "frequency", "known_at", "provider"),
        "panel_from",
        "panel_from",
        {
            "ticker": ticker(),
            "period_end": day("last day of the fiscal period"),
            "frequency": Column(pl.String, "length of the period the flows cover", isin=("quarterly", "annual")),
            "published": Column(
                pl.Date,
                "day of publication; null where the provider has none and the default lag was used",
                nullable=True,
            ),
            "known_at": day("first session at whose close the statement may be used"),
            "provider": Column(pl.String, "which provider the statement comes from"),
            "restated": Column(pl.Boolean, "true for a later version of a period already known"),
            "restated_on": Column(
                pl.Date,
                "day after publication on which the provider last changed these figures, which may be what became "
                "known then; null where it tells none",
                nullable=True,
            ),
            "revenue": money("sales to customers in the fiscal period"),
            "gross_profit": money("revenue less cost of goods sold in the fiscal period"),
            "operating_income": money("earnings before interest and taxes in the fiscal period"),
            "net_income": money("earnings after interest and taxes in the fiscal period"),
            "total_assets": money("total assets at period end"),
            "total_equity": money("total equity at period end"),
            "total_debt": money("short- and long-term debt at period end"),
            "shares": Column(
                pl.Float64,
                "diluted shares outstanding, counted as at publication (later splits not applied)",
                "shares",
                nullable=True,
                gt=0,
            ),
            "depreciation": money("depreciation and amortisation of the period"),
            "operating_cash_flow": money("net cash from operating activities in the period"),
            "capital_expenditure": money(
                "cash flow of the period for fixed assets and intangibles: negative where it was spent"
            ),
            "cash": money("cash, equivalents and short-term investments at period end"),
            "panel_from": PANEL["panel_from"],
        },
    ),
    Dataset(
        "sentiment",
        "What news say of each member, session by session: a row where there are news, known by the session's close",
        ("ticker", "date"),
        "date",
        "date",
        {
            "ticker": ticker(),
            "date": day("first session by whose close the stories were known"),
            "stories": Column(pl.Int32, "news about the company, each story once", "stories", ge=1),
            "scored": Column(
                pl.Int32, "of these, those that became known after the scorer's `trained_through`", "stories", ge=0
            ),
            "sentiment": Column(
                pl.Float64,
                "mean over the scored stories of P(positive) less P(negative); null where none is scored",
                "1",
                nullable=True,
                ge=-1,
                le=1,
            ),
            "dispersion": Column(
                pl.Float64,
                "standard deviation of the same over the scored stories",
                "1",
                nullable=True,
                ge=0,
                le=1,
            ),
            "scorer": Column(
                pl.String, "kind of the scorer and the first characters of its files' SHA-256", nullable=True
            ),
            "trained_through": Column(
                pl.Date, "last day of which the scorer may know anything; null without one", nullable=True
            ),
        },
    ),
    Dataset(
        "macro",
        "Macroeconomic observations as they became known",
        ("series_id", "period", "known_at"),
        "known_at",
        "known_at",
        {
            "series_id": Column(pl.String, "identifier of the series at FRED, such as DGS10"),
            "period": day("start of the period observed"),
            "known_at": day(
                "first session at whose close the value may be used: "
                "the release, else period plus the series' documented lag"
            ),
            "value": Column(
                pl.Float64, "observation in the series' own unit; null once its publisher withdrew it", nullable=True
            ),
        },
        grain=MONTHLY,
    ),
)
