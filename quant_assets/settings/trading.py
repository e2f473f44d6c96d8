"""Settings of what becomes of decided weights: execution, costs, orders, turnover, sleeves."""

from typing import Annotated, Literal

from pydantic import Field

from quant_assets.settings.group import SettingsGroup


class TurnoverSettings(SettingsGroup):
    """What a rebalancing may trade; off unless `limited`.

    Turnover is what is bought and sold over equity, against what is held after its drift at the trade, not against the
    weights decided before. A limited book goes back to the first decision of the profile: what it holds in a month
    follows from all months before, which must be there.

    Attributes:
        limited: whether the backtest is held to these limits.
        max_turnover: largest of a session.
        annual: largest of a calendar year together.
        min_trade: trades below it, as a share of equity, are dropped, unless they close a position or bring one back
            to what the largest may be.

    """

    limited: bool = False
    max_turnover: float = Field(default=0.35, gt=0, le=2)
    annual: float = Field(default=0.80, gt=0)
    min_trade: float = Field(default=0.005, ge=0, lt=1)


class BacktestSettings(SettingsGroup):
    """Execution and costs. Trades execute at the session `entry_lag` after the decision (labels agree).

    With `costs: flat`, `execution: close`, `rebalancing: month`, no `participation` and no `turnover.limited` (the
    defaults) the result is in closed form and `cost_bps` is all that trading costs; `closed_form` says so. Everything
    else is carried session by session in a book of holdings and cash (`backtest.book`).

    Attributes:
        cost_bps: cost of trading 1 unit where `costs` is `flat`, in basis points.
        costs: `flat`, or `itemised`: commission, half spread, impact, borrow fee less rebate, and financing, each told
            apart.
        capital: size of the book in USD that impact, participation and numbers of shares go by. It stays as it is:
            gains are thought to be taken out and losses filled up, so that no month depends on the ones long before.
        commission_bps: of what is traded, in basis points.
        spread: where the half spread comes from: the setting, or an estimate from high, low and close of the
            `estimate_sessions` sessions up to the one before the trade.
        half_spread_bps: half the quoted spread in basis points, and what stands in for an estimate that is missing.
        impact: coefficient k of the square-root law: a trade of V dollars in a name with daily volatility s and median
            daily dollar volume A moves its price by k s sqrt(V / A). 0 leaves impact out.
        estimate_sessions: sessions of spread, volatility and median dollar volume.
        borrow_bps: fee for borrowing what is sold short, in basis points a year of its value.
        rebate_bps: interest on the proceeds of short sales as far as they are still in cash, in basis points a year.
        financing_bps: interest on negative cash, in basis points a year. The proceeds of short sales pay for longs: a
            book of 130 % and -30 % borrows nothing.
        execution: at the close, at the open, or at the mean of open, high, low and close, which stands for a price
            averaged over the session (VWAP). A missing open counts as the close.
        rebalancing: how often the holdings are traded back to the newest decision.
        participation: largest share of the median dollar volume that a session's trade in a name may be; the rest is
            carried to later sessions. None is no limit.
        leverage: largest sum of a decision's weights, shorts counted negative; above 1 money is borrowed.
        benchmark: symbol of an index or fund (`files.indices`) that results are held against beside the sector; none
            where empty.
        turnover: limits of what is traded.

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
        """Whether a result follows from the last decisions alone, without a book that is carried."""
        return (
            self.costs == "flat"
            and self.execution == "close"
            and self.rebalancing == "month"
            and self.participation is None
            and not self.turnover.limited
        )


class OrderSettings(SettingsGroup):
    """Orders that lead from holdings to target weights.

    Attributes:
        capital: equity of the book in USD, its holdings included.
        lot_size: shares that a trade is a multiple of; `lot_sizes` has those of single tickers.
        lot_sizes: by ticker.
        min_trade: smallest trade, as a share of the capital; one that closes a position is made in any case.
        halted: why no orders may leave; empty where they may.

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
        crypto_risk_budget: crypto's largest share of the variance.
        threshold: shares are traded where one differs by more than this from what is held after its drift.
        equity_volatility: target, 1 per year; the sleeve is scaled down to it.
        crypto_volatility: likewise.
        volatility_sessions: of volatilities and correlation; three quarters of them must be known.
        mean_sessions: of the mean returns of `mvo_reg`.
        risk_aversion: of `mvo_reg`.
        ridge: of `mvo_reg`, as a share of the mean variance, added to both.
        regime: whose multiplier is the exposure of dataset `sleeve_allocation`, the rest being cash: the market's, or
            nobody's (`none`). With `portfolio.exposure.regime` on, the equity sleeve follows the regime by itself, and
            `none` keeps it from being counted twice.
        unknown: exposure where the market's regime is unknown.
        coins: symbols of each coin, in order of precedence; the sleeve holds the coins in equal parts.

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
