"""Settings of the use of weights: execution, costs, orders, turnover, sleeves."""

from typing import Annotated, Literal

from pydantic import Field

from quant_assets.settings.group import SettingsGroup


class TurnoverSettings(SettingsGroup):
    """Limits of turnover; off unless `limited`.

    Turnover is the sum of buys and sells over equity, relative to the drifted holdings at the trade, not to the
    previous weights. A limited book starts at the first decision of the profile: its holdings in a month depend on all
    earlier months, which must exist.

    Attributes:
        limited: whether the limits apply to the backtest.
        max_turnover: greatest turnover of a session.
        annual: greatest turnover of a calendar year.
        min_trade: trades below it, as a share of equity, are dropped, unless they close a position or reduce one to
            the greatest allowed weight.

    """

    limited: bool = False
    max_turnover: float = Field(default=0.35, gt=0, le=2)
    annual: float = Field(default=0.80, gt=0)
    min_trade: float = Field(default=0.005, ge=0, lt=1)


class BacktestSettings(SettingsGroup):
    """Execution and costs. Trades execute `entry_lag` sessions after the decision, as in the labels.

    With `costs: flat`, `execution: close`, `rebalancing: month`, no `participation` and no `turnover.limited` (the
    defaults) the result is in closed form (`closed_form`) and `cost_bps` is the only cost of trading. Otherwise a book
    of holdings and cash is simulated session by session (`backtest.book`).

    Attributes:
        cost_bps: cost of trading 1 unit where `costs` is `flat`, in basis points.
        costs: `flat`, or `itemised`: commission, half spread, impact, borrow fee less rebate, and financing, reported
            separately.
        capital: size of the book in USD for impact, participation and numbers of shares. It is constant: gains are
            withdrawn and losses refilled, so that no month depends on distant earlier ones.
        commission_bps: commission on the traded value, in basis points.
        spread: source of the half spread: the setting (`fixed`), or an estimate from high, low and close of the
            `estimate_sessions` sessions before the trade.
        half_spread_bps: half the quoted spread in basis points; also used where an estimate is missing.
        impact: coefficient k of the square-root law: a trade of V dollars in a name with daily volatility s and median
            daily dollar volume A moves its price by k s sqrt(V / A). 0 for no impact.
        estimate_sessions: sessions of spread, volatility and median dollar volume.
        borrow_bps: borrow fee of short positions, in basis points of their value a year.
        rebate_bps: interest on the proceeds of short sales that are still in cash, in basis points a year.
        financing_bps: interest on negative cash, in basis points a year. The proceeds of short sales pay for longs: a
            book of 130 % and -30 % borrows nothing.
        execution: at the close, at the open, or at the mean of open, high, low and close as an approximation of the
            average price of the session (VWAP). A missing open is replaced by the close.
        rebalancing: how often the holdings are traded back to the newest decision.
        participation: greatest share of the median dollar volume for a session's trade in a name; the rest is traded in
            later sessions. Null for no limit.
        leverage: greatest sum of a decision's weights, shorts counted negative; above 1 money is borrowed.
        benchmark: symbol of an index or fund (`files.indices`) with which results are compared, in addition to the
            sector; empty for none.
        turnover: limits of turnover.

    """

    cost_bps: float = Field(default=10.0, ge=0)
    costs: Literal["flat", "itemised"] = "flat"
    capital: float = Field(default=10_000_000.0, gt=0)
    commission_bps: float = Field(default=1.0, ge=0, le=1000)
    spread: Literal["fixed", "corwin_schultz", "abdi_ranaldo"] = "abdi_ranaldo"
    half_spread_bps: float = Field(default=2.0, ge=0, le=1000)
    impact: float = Field(default=1.0, ge=0)
    estimate_sessions: int = Field(default=21, ge=5)
    borrow_bps: float = Field(default=50.0, ge=0)
    rebate_bps: float = Field(default=0.0, ge=0)
    financing_bps: float = Field(default=500.0, ge=0)
    execution: Literal["close", "open", "mean"] = "close"
    rebalancing: Literal["month", "week", "day"] = "month"
    participation: float | None = Field(default=None, gt=0, le=1)
    leverage: float = Field(default=1.0, ge=1, le=10)
    benchmark: str = ""
    turnover: TurnoverSettings = TurnoverSettings()

    @property
    def closed_form(self) -> bool:
        """Whether results depend only on the last decisions, without a simulated book."""
        return (
            self.costs == "flat"
            and self.execution == "close"
            and self.rebalancing == "month"
            and self.participation is None
            and not self.turnover.limited
        )


class OrderSettings(SettingsGroup):
    """Orders from holdings to target weights.

    Attributes:
        capital: equity of the book in USD, its holdings included.
        lot_size: trades are multiples of this number of shares; `lot_sizes` has exceptions.
        lot_sizes: lot sizes by ticker.
        min_trade: smallest trade, as a share of the capital; positions are always closed.
        halted: reason for a halt of all orders; empty for none.

    """

    capital: float = Field(default=1_000_000.0, gt=0)
    lot_size: int = Field(default=1, ge=1)
    lot_sizes: dict[str, Annotated[int, Field(ge=1)]] = {}
    min_trade: float = Field(default=0.005, ge=0, lt=1)
    halted: str = ""


class SleeveSettings(SettingsGroup):
    """Equities, crypto-currencies and cash.

    Attributes:
        method: `erc` (risk parity of the two risky sleeves) or `mvo_reg` (mean-variance with a ridge).
        crypto_risk_budget: crypto's greatest share of the variance.
        threshold: sleeves are rebalanced if a share differs by more than this from the drifted holdings.
        equity_volatility: target volatility a year; the sleeve is scaled down to it.
        crypto_volatility: the same for crypto.
        volatility_sessions: sessions of volatilities and correlation; three quarters of them must be known.
        mean_sessions: sessions of the mean returns of `mvo_reg`.
        risk_aversion: risk aversion of `mvo_reg`.
        ridge: ridge of `mvo_reg`, as a share of the mean variance, added to both variances.
        regime: source of the exposure of dataset `sleeve_allocation`, the rest being cash: the market's multiplier
            (`market`), or none. With `portfolio.exposure.regime` on, the equity sleeve already follows the regime; use
            `none` to avoid counting it twice.
        unknown: exposure if the market's regime is unknown.
        coins: symbols of each coin, in order of priority; the sleeve holds all coins in equal parts.

    """

    method: Literal["erc", "mvo_reg"] = "erc"
    crypto_risk_budget: float = Field(default=0.25, ge=0, le=1)
    threshold: float = Field(default=0.05, ge=0, lt=1)
    equity_volatility: float = Field(default=0.10, gt=0)
    crypto_volatility: float = Field(default=0.35, gt=0)
    volatility_sessions: int = Field(default=63, ge=10)
    mean_sessions: int = Field(default=252, ge=20)
    risk_aversion: float = Field(default=5.0, gt=0)
    ridge: float = Field(default=0.1, ge=0)
    regime: Literal["none", "market"] = "market"
    unknown: float = Field(default=1.0, ge=0)
    coins: dict[str, tuple[str, ...]] = {"BTC": ("BTCUSDT", "BTC-USD"), "ETH": ("ETHUSDT", "ETH-USD")}
