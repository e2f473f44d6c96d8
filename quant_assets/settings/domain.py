"""Settings of what is computed, from bars to the total portfolio."""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from quant_assets.settings.group import SettingsGroup
from quant_assets.settings.sectors import SECTORS

#: The calendar of sessions begins here, and with it the earliest month of a profile.
FIRST_DAY = date(1990, 1, 1)

#: No month of a profile lies later: what is reckoned from it must still be a date.
LAST_DAY = date(9899, 12, 31)

#: In the place of a model's name: what all of them say together.
ENSEMBLE = "ensemble"

#: Ten years, beyond which nobody waits for a publication.
LONGEST_LAG_DAYS = 3_650


class EventSettings(SettingsGroup):
    """When a corporate action is taken for faulty, and when two providers disagree. Ratios: 0.02 are 2 points or 2 %.

    Attributes:
        disagreement: difference of two providers' total returns beyond which they disagree.
        agreement: difference within which another provider's return confirms an explanation.
        jump: least total return, up or down, that an event may have to explain.
        event_yield: least dividend over the close before that is doubted.
        spin_off_yield: the same for a dividend that is marked as a spin-off.
        ratio_tolerance: how far a jump may lie from a split ratio, with another provider's return to confirm it.
        lone_tolerance: the same for close and open without another provider, of a ratio of 2.
        lone_far_tolerance: of larger ratios, which hardly any real move on an ordinary dollar volume comes near: of the
            index members since 2000, each file alone, none up to 0.08.
        turnover: most times by which the dollar volume of such a split day may differ from the day before.
        extreme_move: total return, up or down by the same factor, from which on a step that nothing explains is marked.
            A factor of 3 is met by one of 3.8 million steps of index members since 2000, a real fall; of 2.5, by seven,
            all real.
        decimal_tolerance: how far such a step may lie from a power of ten to be taken for a decimal point out of place.
        reversal_days: calendar days within which a price that jumped may come back, and for which at most a misprint
            is refused.
        reversal_tolerance: how far from its level before the jump a price may be that has come back; a quarter of the
            jump at most.

    """

    disagreement: float = Field(default=0.02, gt=0)
    agreement: float = Field(default=0.005, gt=0)
    jump: float = Field(default=0.25, gt=0)
    event_yield: float = Field(default=0.04, gt=0)
    spin_off_yield: float = Field(default=0.10, gt=0)
    ratio_tolerance: float = Field(default=0.015, gt=0)
    lone_tolerance: float = Field(default=0.03, gt=0)
    lone_far_tolerance: float = Field(default=0.06, gt=0)
    turnover: float = Field(default=3.0, gt=1)
    extreme_move: float = Field(default=2.0, gt=0)
    decimal_tolerance: float = Field(default=0.1, gt=0)
    reversal_days: int = Field(default=14, ge=1)
    reversal_tolerance: float = Field(default=0.25, gt=0)


class BarSettings(SettingsGroup):
    """How the bars of several providers become one series, whichever the providers are.

    A provider joins a ticker's series when most of its last returns agree with those of the series.

    Attributes:
        missing_open: what becomes of a bar whose open alone is no price of the day (absent, 0, or beyond high or low by
            `events.jump` or more) while high, low, close and volume are good. `null` uses the bar without an open:
            prices, returns and labels are there, and what needs an open is null. `refuse` refuses it.
        splice_sessions: most returns that are compared before a provider joins a series.
        splice_min_sessions: fewest returns that are compared.
        splice_tolerance: largest difference of two returns that agree.

    """

    missing_open: Literal["null", "refuse"] = "null"

    splice_sessions: int = Field(default=20, ge=2)
    splice_min_sessions: int = Field(default=5, ge=2)
    splice_tolerance: float = Field(default=0.001, gt=0)
    events: EventSettings = EventSettings()


class SectorWindows(SettingsGroup):
    """Indicator windows of one sector, in sessions.

    Attributes:
        moving_average: sessions of the moving average.
        momentum_lag: sessions back to the price that momentum compares with.

    """

    moving_average: int = Field(ge=2)
    momentum_lag: int = Field(ge=1)


class GarchSettings(SettingsGroup):
    """GARCH(1,1) with constant mean, refitted at each month's end.

    Attributes:
        window: sessions of returns that a fit sees.
        min_observations: fewest returns in it; with fewer the volatility is null.
        distribution: of the standardised returns: `normal` or Student's `t`.
        leverage: fit GJR-GARCH(1,1), in which losses weigh by gamma more.

    """

    window: int = Field(default=750, ge=100)
    min_observations: int = Field(default=500, ge=50)
    distribution: Literal["normal", "t"] = "t"
    leverage: bool = False


class IndicatorSettings(SettingsGroup):
    """Indicators; `windows` has one entry for each sector.

    Attributes:
        slope_sessions: sessions over which the slope of the moving average is taken.
        liquidity_sessions: sessions of the median dollar volume.
        history_sessions: sessions over which `history_sessions` of a name is counted.

    """

    windows: dict[str, SectorWindows]
    slope_sessions: int = Field(default=5, ge=1)
    liquidity_sessions: int = Field(default=20, ge=1)
    history_sessions: int = Field(default=252, ge=1)
    garch: GarchSettings = GarchSettings()

    @field_validator("windows")
    @classmethod
    def _every_sector(cls, value: dict[str, SectorWindows]) -> dict[str, SectorWindows]:
        if set(value) != set(SECTORS):
            raise ValueError(f"needs exactly the sectors {', '.join(SECTORS)}; got {', '.join(value)}")
        return value


class CandidateSettings(SettingsGroup):
    """Composite score and selection of long and short candidates.

    Attributes:
        momentum_weight: relative weight of standardised momentum in the score.
        moving_average_weight: relative weight of the standardised slope of the moving average.
        volatility_weight: relative weight of standardised low GARCH volatility.
        standardise: how each part is made comparable over the sector's names: `zscore` or `rank`.
        long_fraction: share of the eligible names, from the best score down, that are long candidates.
        short_fraction: share of the eligible names, from the worst score up, that are short candidates.
        min_history_sessions: fewest sessions of history of a candidate.
        min_dollar_volume: least median dollar volume per session of a candidate, USD. A name whose median is unknown
            passes: unknown is not illiquid.
        min_volatility: least annualised GARCH volatility of a candidate, 0.02 is 2 %.
        max_volatility: largest annualised GARCH volatility of a candidate.
        unknown_volatility: who passes the band without a GARCH volatility: everybody (`pass`), nobody (`refuse`), or
            those that are too young for one (`young`, by `indicators.garch_status`). A young name's volatility is
            unknown because it is new, which says nothing of its risk, and the band must not keep new listings out for
            two years. A name with holes or without a fit is unknown because its prices are thin, stale or broken, and
            those are the names that a cap is meant for.

    """

    momentum_weight: float = Field(default=0.5, ge=0)
    moving_average_weight: float = Field(default=0.3, ge=0)
    volatility_weight: float = Field(default=0.2, ge=0)
    standardise: Literal["zscore", "rank"] = "zscore"
    long_fraction: float = Field(default=0.15, gt=0, le=0.5)
    short_fraction: float = Field(default=0.15, gt=0, le=0.5)
    min_history_sessions: int = Field(default=120, ge=1)
    min_dollar_volume: float = Field(default=1_000_000.0, ge=0)
    min_volatility: float = Field(default=0.02, ge=0)
    max_volatility: float = Field(default=1.5, gt=0)
    unknown_volatility: Literal["pass", "young", "refuse"] = "young"


class FundamentalSettings(SettingsGroup):
    """Point-in-time alignment of statements, in calendar days and months.

    Attributes:
        min_lag_days: fewest calendar days from publication until a statement is used.
        default_publication_lag_days: calendar days from the period's end to publication, where the publication date is
            missing.
        from_restatement: use figures that the provider restated only from the restatement on. Strictly point in time,
            and a year late where a provider counts the comparative figures of the next report as a restatement.
        lookback_months: months of statements that features look back over.

    """

    min_lag_days: int = Field(default=1, ge=0, le=LONGEST_LAG_DAYS)
    default_publication_lag_days: int = Field(default=90, ge=1, le=LONGEST_LAG_DAYS)
    from_restatement: bool = False
    lookback_months: int = Field(default=27, ge=15)


class FeatureSettings(SettingsGroup):
    """Which features models see.

    Attributes:
        sets: ready-made sets; `quant features` lists them.
        modules: modules of your own, each with a list `FEATURES`: a file of the settings' folder (`my_features` is
            `conf/my_features.py`), or else importable from PYTHONPATH.

    """

    sets: tuple[str, ...] = ("core", "cross_section")
    modules: tuple[str, ...] = ()


class LabelSettings(SettingsGroup):
    """Forward returns: signal at the close of t, entry at the close of t + entry_lag, exit `horizon` sessions later.

    Attributes:
        horizons: sessions from entry to exit; each is a row of its own.
        entry_lag: sessions from the decision to the close that is traded at; at least 1.

    """

    horizons: tuple[Annotated[int, Field(ge=1)], ...] = (1, 5, 20, 60)
    entry_lag: int = 1

    @field_validator("horizons")
    @classmethod
    def _each_once(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        twice = sorted({horizon for horizon in value if value.count(horizon) > 1})
        if twice:
            raise ValueError(f"{twice[0]} stands twice; each horizon is a row of its own")
        return value

    @field_validator("entry_lag")
    @classmethod
    def _after_the_decision(cls, value: int) -> int:
        if value < 1:
            raise ValueError(
                f"{value} would trade at the very close that decides, or before it, which is look-ahead; use 1 or more"
            )
        return value


class DelistingSettings(SettingsGroup):
    """What a delisting did to its holders, beyond the last price, as far as it can be told when it becomes known.

    A provider may say why a ticker stopped trading. Where none does, a price that had collapsed stands for a failure: a
    last close below `collapse_price` USD as traded (the exchanges' minimum bid), or a fall of `collapse_fall` or more
    from the highest close of the last `collapse_sessions` sessions. Everything else is unknown, and holders are assumed
    to have got the last price. Both are presumed, and taken back on the day on which the ticker trades again.

    `failure_return` is Shumway's mean return of performance-related delistings from NYSE and AMEX (1997, "The delisting
    bias in CRSP data", Journal of Finance 52(1)); for Nasdaq, Shumway and Warther (1999, Journal of Finance 54(6)) find
    -0.55.

    Attributes:
        failure_return: return of the last price to what holders got after a failure. The default is Shumway's mean.
        collapse_price: last close as traded, USD, below which a delisting without a reason counts as a failure.
        collapse_fall: fall from the highest close of the last `collapse_sessions` sessions from which on it does.
        collapse_sessions: sessions of that highest close.

    """

    failure_return: float = Field(default=-0.30, ge=-1, le=0)
    collapse_price: float = Field(default=1.0, ge=0)
    collapse_fall: float = Field(default=0.8, gt=0, le=1)
    collapse_sessions: int = Field(default=252, ge=1)


class ModelSettings(SettingsGroup):
    """A model that is trained: its kind, the kind's parameters, and for which of labels.horizons (all where none).

    A kind is a file of quant_assets/learning/models, or `module:Class` of your own: a file of the settings' folder, or
    importable from PYTHONPATH.

    Attributes:
        kind: a file of `quant_assets/learning/models`, or `module:Class` of your own.
        horizons: which of labels.horizons are forecast; all where empty.
        task_type: `regression` fits the forward return, `classification` whether it is positive. Of the latter
            `prob_up` is the model's own probability, and `prediction` the mean return of the training rows that rose
            and of those that fell, weighed with it.
        update: whether the model learns from the rows of each month that is no training month (lightgbm, linear); else
            it stays as it was trained.
        parameters: of the kind, where they are not its defaults.

    """

    kind: str
    horizons: tuple[int, ...] = ()
    task_type: Literal["regression", "classification"] = "regression"
    update: bool = False
    parameters: dict[str, Any] = {}


class TrainingSettings(SettingsGroup):
    """When and on what checkpoints are trained, whatever the models.

    Attributes:
        cadence_months: months from one training to the next.
        window_months: months of rows that a training sees.
        max_checkpoint_age_months: age at which a checkpoint is too old to forecast with.
        embargo_sessions: sessions left out between the last training label and the first test row.
        folds: walk-forward test folds.
        sample_every_sessions: every how many sessions a row is taken: labels of neighbouring sessions overlap.
        min_rows: fewest training rows; with fewer there is no checkpoint.
        seed: of every random draw of a training.
        target: what is fitted: forward returns as they are (`raw`), cut `target_limit` robust deviations from their
            session's median (`winsorised`), or normal scores of their rank (`rank`); see `learning.targets`. Metrics
            are always those of the returns as they are. Of LightGBM on two sectors from 2008 to 2013 (40 trainings),
            winsorised less raw is +0.004 in rank IC (standard error 0.004) and -0.1 % in squared error, while one false
            move of a factor of 2.5 in 36 months of rows takes the correlation of the forecasts with those without it to
            0.67 (5 sessions ahead) and 0.43 (20) where raw, to 0.90 and 0.81 where winsorised, to 0.97 and 0.89 where
            ranked. It leaves 99 % of the targets as they are.
        target_limit: see there.
        relative_to: whether returns are held against their session's mean over the training rows of the sector before
            (`sector`), or taken as they are (`none`). Of directions it is then whether a return is above that mean.
        reference_rows: training rows, drawn once, that are kept with a checkpoint for the distances of later rows.
        reference_bins: bins of each feature in which the training rows are counted, for population stability.
        shap_rows: rows of the test folds together, drawn once, of which each feature's contribution is shown, where a
            kind states contributions (lightgbm, xgboost); 0 shows none.

    """

    cadence_months: int = Field(default=3, ge=1, le=12)
    window_months: int = Field(default=36, ge=6)
    max_checkpoint_age_months: int = Field(default=6, ge=1)
    embargo_sessions: int = Field(default=5, ge=0)
    folds: int = Field(default=3, ge=2)
    sample_every_sessions: int = Field(default=5, ge=1)
    min_rows: int = Field(default=1_000, ge=50)
    seed: int = 20_240_601
    target: Literal["raw", "winsorised", "rank"] = "winsorised"
    target_limit: float = Field(default=5.0, gt=0)
    relative_to: Literal["none", "sector"] = "none"
    reference_rows: int = Field(default=500, ge=2)
    reference_bins: int = Field(default=10, ge=2)
    shap_rows: int = Field(default=120, ge=0)


class PredictionSettings(SettingsGroup):
    """How a checkpoint's output becomes a forecast distribution.

    Attributes:
        buckets: of forecasts, in each of which the spread of the outcomes is measured.
        min_bucket_rows: fewest rows of a bucket.
        min_probability: bound of `prob_up`: it lies from this to 1 less this.
        calibration: of `prob_up` by the test folds of the training: Platt's line of the log odds, or none.
        interval_coverage: share of the outcomes that the interval around a prediction is made to hold.

    """

    buckets: int = Field(default=5, ge=1)
    min_bucket_rows: int = Field(default=50, ge=2)
    min_probability: float = Field(default=0.01, ge=0.01, lt=0.5)
    calibration: Literal["platt", "none"] = "platt"
    interval_coverage: float = Field(default=0.9, gt=0, lt=1)
