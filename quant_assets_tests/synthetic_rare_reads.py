"""What the datasets over the markets of `synthetic_rare` are computed with: settings, months, and what is stored."""

from collections.abc import Callable, Mapping
from datetime import date
from typing import NamedTuple

import numpy as np
import polars as pl

from quant_assets.features.library import FeatureLibrary, ready_made
from quant_assets.learning.drift import Applicability
from quant_assets.market.calendar import decision_sessions, last_session_to, sessions
from quant_assets.partitions import month_end, month_of, month_start, shift_month
from quant_assets.schemas import DATASETS, Dataset
from quant_assets.settings.domain import (
    CandidateSettings,
    DelistingSettings,
    FundamentalSettings,
    GarchSettings,
    IndicatorSettings,
    LabelSettings,
    PredictionSettings,
    SectorWindows,
    TrainingSettings,
)
from quant_assets.settings.results import PortfolioSettings
from quant_assets.settings.risk import Episode, MarkovSettings, RegimeRules, RegimeSettings, RiskSettings
from quant_assets.settings.sectors import SECTORS as EVERY_SECTOR
from quant_assets.settings.trading import BacktestSettings, SleeveSettings, TurnoverSettings
from quant_assets.settings.weights import WeightSettings
from quant_assets.signals.indicators import dataset as indicator_dataset
from quant_assets_tests.learning.ridge import Ridge
from quant_assets_tests.synthetic_rare import START

#: Windows so short that five months are a history.
INDICATORS = IndicatorSettings(
    windows=dict.fromkeys(EVERY_SECTOR, SectorWindows(moving_average=4, momentum_lag=3)),
    slope_sessions=2,
    liquidity_sessions=3,
    history_sessions=20,
    garch=GarchSettings(window=100, min_observations=50, distribution="normal"),
)

CANDIDATES = CandidateSettings(min_history_sessions=3, long_fraction=0.4, short_fraction=0.3)

STATEMENTS = FundamentalSettings()

DELISTINGS = DelistingSettings(failure_return=-1.0)  # everything is lost

LABELS = LabelSettings(horizons=(1, 5, 10))  # of folds of these few months every one has labels

WEIGHTS = WeightSettings(model="ridge", top_n=3, horizon=5, max_weight=0.5)

REGIMES = RegimeSettings(
    volatility_sessions=5,
    drawdown_sessions=10,
    rules=RegimeRules(volatility_sessions=5, short_mean=4, long_mean=10),
    markov=MarkovSettings(emissions="student_t", window=40, min_observations=30, cadence_months=2),
)

RISK = RiskSettings(
    window=40,
    min_observations=30,
    paths=1_000,
    history_months=3,
    episodes={"spring": Episode(first=date(2020, 2, 10), last=date(2020, 3, 20))},
)

TRAINING = TrainingSettings(
    cadence_months=1, window_months=6, max_checkpoint_age_months=2, folds=2, embargo_sessions=1, min_rows=50
)

PREDICTIONS = PredictionSettings(min_bucket_rows=5)

APPLIES = Applicability(max_dissimilarity=1.0, expires_after_months=1)

SLEEVES = SleeveSettings(volatility_sessions=10, threshold=0.02)

PORTFOLIO = PortfolioSettings(allocation="inverse_volatility")

LEARNER = Ridge("ridge")

MIN_NAMES, FACTOR_MONTHS, COST_BPS = 3, 3, 10.0

#: A book that is carried, beside the backtest in closed form.
CARRIED = BacktestSettings(
    costs="itemised", rebalancing="week", participation=0.1, turnover=TurnoverSettings(limited=True, annual=5.0)
)

#: A feature of each kind, and those that are compared within the sector and the market.
CHOSEN = (
    "close_to_peak",
    "volume_mean_5_to_peak",
    "return_1",
    "return_20",
    "beta_120",
    "sma_distance_50",
    "amihud_20",
    "volume_ratio_5_60",
    "overnight_variance_share_20",
    "earnings_yield",
    "book_to_market",
    "net_margin",
    "earnings_growth",
    "statement_age_days",
)


def _library() -> FeatureLibrary:
    """The chosen features with what they read, and those of them that the set `cross_section` compares."""
    core = ready_made("core")
    wanted, before = set(CHOSEN), 0
    while len(wanted) > before:
        before = len(wanted)
        wanted |= {name for each in core if each.name in wanted for name in each.inputs}
    compared = [each for each in ready_made("cross_section") if each.inputs[0] in CHOSEN]
    return FeatureLibrary({"core": [each for each in core if each.name in wanted], "cross_section": compared})


LIBRARY = _library()

EVERY: dict[str, Dataset] = DATASETS | {
    each.name: each for each in (indicator_dataset(INDICATORS), LIBRARY.dataset, *LIBRARY.market_datasets)
}

FIRST_MONTH = month_of(START)


class Stored(dict[str, pl.DataFrame]):
    """Rows of datasets by name, with `sector` at sector grain, and the files of trained models."""

    def __init__(self, rows: Mapping[str, pl.DataFrame] | None = None) -> None:
        super().__init__(rows or {})
        self.files: dict[str, bytes] = {}


class Months(NamedTuple):
    """A run over some months of a market, as `asset_functions.Run` is one."""

    first: str
    last: str
    last_session: date

    @property
    def first_day(self) -> date:
        return month_start(self.first)

    @property
    def last_day(self) -> date:
        return month_end(self.last)

    @property
    def through(self) -> date:
        return min(last_session_to(self.last_day), self.last_session)

    @property
    def decisions(self) -> list[date]:
        return decision_sessions(self.first_day, self.through)

    def sessions(self, before: int = 0, after: int = 0) -> np.ndarray:
        first, last = month_start(shift_month(self.first, -before)), month_end(shift_month(self.last, after))
        return sessions(first, min(last, self.last_session))

    def held(self, before: int) -> list[date]:
        first = max(shift_month(self.first, -before), FIRST_MONTH)
        return decision_sessions(month_start(first), self.through)

    def own(self, name: str, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows of the months' own partitions."""
        return rows.filter(pl.col(EVERY[name].dated_by).is_between(self.first_day, self.last_day))


class Reads(NamedTuple):
    """What is stored of one sector (None: of all, with `sector`), read by months around those of a run."""

    stored: Stored
    months: Months
    sector: str | None

    def __call__(self, name: str, before: int = 0, after: int = 0) -> pl.DataFrame:
        first, last = shift_month(self.months.first, -before), shift_month(self.months.last, after)
        day = pl.col(EVERY[name].dated_by)
        rows = self.stored[name].filter(day.is_between(month_start(first), month_end(last)))
        if self.sector is None or "sector" not in rows.columns:
            return rows
        return rows.filter(pl.col("sector") == self.sector).drop("sector")


Compute = Callable[[Reads, Months, str], pl.DataFrame]
