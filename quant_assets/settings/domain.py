"""Settings of what is computed, from bars to the total portfolio."""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from quant_assets.settings.group import SettingsGroup
from quant_assets.settings.sectors import SECTORS

#: Start of the calendar of sessions and of the earliest month of a profile.
FIRST_DAY = date(1990, 1, 1)

#: Limit of the months of a profile: dates computed from them must be valid.
LAST_DAY = date(9899, 12, 31)

#: Name of the ensemble of all models, used like the name of a model.
ENSEMBLE = "ensemble"

#: Longest publication lag: ten years.
LONGEST_LAG_DAYS = 3_650


class EventSettings(SettingsGroup):
    """Detection of faulty corporate actions and of disagreeing providers. Ratios: 0.02 is 2 points or 2 %.

    Attributes:
        disagreement: difference of two providers' total returns above which they disagree.
        agreement: difference within which another provider's return confirms an explanation.
        jump: least total return, up or down, that needs an explanation by an event.
        event_yield: least dividend, relative to the previous close, that is checked.
        spin_off_yield: the same for a dividend marked as a spin-off.
        ratio_tolerance: greatest distance of a jump from a split ratio, if another provider's return confirms it.
        lone_tolerance: the same for close and open without another provider, for a ratio of 2.
        lone_far_tolerance: the same for larger ratios, which real moves on ordinary dollar volume hardly reach: among
            index members since 2000, with single files, none within 0.08.
        turnover: greatest factor between the dollar volume of such a split day and the day before.
        extreme_move: total return, up or down by the same factor, from which an unexplained step is marked. Among 3.8
            million steps of index members since 2000, one reaches a factor of 3, a real fall, and seven reach 2.5, all
            real.
        decimal_tolerance: greatest distance of such a step from a power of ten for a misplaced decimal point.
        reversal_days: calendar days within which a jump may be reversed, and for which a misprint is refused at most.
        reversal_tolerance: greatest distance of a reversed price from its level before the jump; at most a quarter of
            the jump.

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
    """Merging of the bars of several providers into one series.

    A provider joins a ticker's series if most of its last returns agree with those of the series.

    Attributes:
        missing_open: handling of a bar with an invalid open (absent, 0, or beyond high or low by `events.jump` or more)
            and valid high, low, close and volume. `null` uses the bar without an open: prices, returns and labels are
            computed, and columns that need an open are null. `refuse` refuses the bar.
        splice_sessions: greatest number of returns compared before a provider joins a series.
        splice_min_sessions: least number of returns compared.
        splice_tolerance: greatest difference of two returns that agree.

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
        window: sessions of returns in a fit.
        min_observations: least number of returns in it; with fewer the volatility is null.
        distribution: distribution of the standardised returns: `normal` or Student's `t`.
        leverage: fit GJR-GARCH(1,1), in which losses have the additional weight gamma.

    """

    window: int = Field(default=750, ge=100)
    min_observations: int = Field(default=500, ge=50)
    distribution: Literal["normal", "t"] = "t"
    leverage: bool = False


class IndicatorSettings(SettingsGroup):
    """Indicators; `windows` has one entry for each sector.

    Attributes:
        slope_sessions: sessions of the slope of the moving average.
        liquidity_sessions: sessions of the median dollar volume.
        history_sessions: sessions in which `history_sessions` of a name is counted.

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
    """Selection score and selection of long and short candidates.

    Attributes:
        momentum_weight: relative weight of standardised momentum in the score.
        moving_average_weight: relative weight of the standardised slope of the moving average.
        volatility_weight: relative weight of standardised low GARCH volatility.
        standardise: standardisation of the parts over the sector's names: `zscore` or `rank`.
        long_fraction: share of the eligible names, from the best score down, that are long candidates.
        short_fraction: share of the eligible names, from the worst score up, that are short candidates.
        min_history_sessions: least number of sessions of history of a candidate.
        min_dollar_volume: least median dollar volume per session of a candidate, USD. A name whose median is unknown
            passes.
        min_volatility: least annualised GARCH volatility of a candidate, 0.02 is 2 %.
        max_volatility: largest annualised GARCH volatility of a candidate.
        unknown_volatility: names without a GARCH volatility that pass the band: all (`pass`), none (`refuse`), or those
            with too short a history (`young`, by `indicators.garch_status`). For young names the missing volatility
            says nothing about risk, and the band should not exclude new listings for two years. Names with gaps or
            without a fit have thin, stale or broken prices, which the upper limit is meant to exclude.

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
        min_lag_days: least number of calendar days from publication to the use of a statement.
        default_publication_lag_days: calendar days from the period's end to publication, if the publication date is
            missing.
        from_restatement: use figures that the provider restated only from the restatement on. Strictly point in time,
            but a year late if a provider treats the comparative figures of the next report as a restatement.
        lookback_months: months of statements used by features.

    """

    min_lag_days: int = Field(default=1, ge=0, le=LONGEST_LAG_DAYS)
    default_publication_lag_days: int = Field(default=90, ge=1, le=LONGEST_LAG_DAYS)
    from_restatement: bool = False
    lookback_months: int = Field(default=27, ge=15)


class FeatureSettings(SettingsGroup):
    """Features of the models.

    Attributes:
        sets: ready-made sets; `quant features` lists them.
        modules: your own modules, with a list `FEATURES`: a file of the settings' folder (`my_features` is
            `conf/my_features.py`), or else importable from PYTHONPATH.

    """

    sets: tuple[str, ...] = ("core", "cross_section")
    modules: tuple[str, ...] = ()


class LabelSettings(SettingsGroup):
    """Forward returns: signal at the close of t, entry at the close of t + entry_lag, exit `horizon` sessions later.

    Attributes:
        horizons: sessions from entry to exit; each horizon has its own row.
        entry_lag: sessions from the decision to the close of the trade; at least 1.

    """

    horizons: tuple[Annotated[int, Field(ge=1)], ...] = (1, 5, 20, 60)
    entry_lag: int = 1

    @field_validator("horizons")
    @classmethod
    def _each_once(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        twice = sorted({horizon for horizon in value if value.count(horizon) > 1})
        if twice:
            raise ValueError(f"{twice[0]} is listed twice; each horizon has its own row")
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
    """Return of holders at a delisting, after the last price, as far as it is known at the time.

    A provider may give the reason of a delisting. Else a collapsed price counts as a failure: a last close below
    `collapse_price` USD as traded (the exchanges' minimum bid), or a fall of `collapse_fall` or more from the highest
    close of the last `collapse_sessions` sessions. Otherwise the reason is unknown, and holders are assumed to get the
    last price. Both assumptions end on the day on which the ticker trades again.

    `failure_return` is Shumway's mean return of performance-related delistings from NYSE and AMEX (1997, "The delisting
    bias in CRSP data", Journal of Finance 52(1)); for Nasdaq, Shumway and Warther (1999, Journal of Finance 54(6)) find
    -0.55.

    Attributes:
        failure_return: return from the last price to the payment after a failure; by default Shumway's mean.
        collapse_price: last close as traded, USD, below which a delisting without a reason counts as a failure.
        collapse_fall: fall from the highest close of `collapse_sessions` sessions that counts as a failure.
        collapse_sessions: sessions of that highest close.

    """

    failure_return: float = Field(default=-0.30, ge=-1, le=0)
    collapse_price: float = Field(default=1.0, ge=0)
    collapse_fall: float = Field(default=0.8, gt=0, le=1)
    collapse_sessions: int = Field(default=252, ge=1)


class ModelSettings(SettingsGroup):
    """A model: its kind, the kind's parameters, and its horizons.

    A kind is a file of quant_assets/learning/models, or `module:Class` of your own: a file of the settings' folder, or
    importable from PYTHONPATH.

    Attributes:
        kind: a file of `quant_assets/learning/models`, or `module:Class` of your own.
        horizons: the forecast horizons, among labels.horizons; all where empty.
        task_type: `regression` fits the forward return, `classification` whether it is positive. For classification
            `prob_up` is the model's own probability, and `prediction` the mean return of the rising and the falling
            training rows, weighted by it.
        update: whether the model is updated with the rows of months without a training (lightgbm, linear); else it does
            not change between trainings.
        parameters: parameters of the kind that differ from its defaults.

    """

    kind: str
    horizons: tuple[int, ...] = ()
    task_type: Literal["regression", "classification"] = "regression"
    update: bool = False
    parameters: dict[str, Any] = {}


class TrainingSettings(SettingsGroup):
    """Times and data of trainings, for all models.

    Attributes:
        cadence_months: months from one training to the next.
        window_months: months of training rows.
        max_checkpoint_age_months: greatest age of a checkpoint for forecasts.
        embargo_sessions: sessions left out between the last training label and the first test row.
        folds: walk-forward folds, including the final one without a test.
        sample_every_sessions: interval of the sampled sessions: labels of neighbouring sessions overlap.
        min_rows: least number of training rows; with fewer there is no checkpoint.
        seed: seed of all random draws of a training.
        target: the fitted target: forward returns (`raw`), clipped to `target_limit` robust deviations from their
            session's median (`winsorised`), or normal scores of their ranks (`rank`); see `learning.targets`. Metrics
            always use the raw returns. For LightGBM on two sectors from 2008 to 2013 (40 trainings), winsorised less
            raw is +0.004 in rank IC (standard error 0.004) and -0.1 % in squared error. A single false move by a factor
            of 2.5 in 36 months of rows reduces the correlation of the forecasts with the correct ones to 0.67 (5
            sessions ahead) and 0.43 (20) for raw, 0.90 and 0.81 for winsorised, 0.97 and 0.89 for rank. Winsorising
            leaves 99 % of the targets unchanged.
        target_limit: limit of `winsorised` targets in robust deviations.
        relative_to: whether the mean over the sector's training rows of the session is subtracted from returns
            (`sector`) or not (`none`). With `sector`, directions are whether a return is above that mean.
        reference_rows: randomly drawn training rows that are stored with a checkpoint for the distances of later rows.
        reference_bins: bins of each feature for the population stability.
        shap_rows: randomly drawn rows of all test folds whose feature contributions are shown, for kinds that have them
            (lightgbm, xgboost); 0 for none.

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
    """Forecast distributions from the output of checkpoints.

    Attributes:
        buckets: number of buckets of forecasts for which the spread of outcomes is measured.
        min_bucket_rows: least number of rows of a bucket.
        min_probability: `prob_up` is clipped to this value and 1 minus it.
        calibration: calibration of `prob_up` on the test folds of the training: Platt scaling, or none.
        interval_coverage: share of outcomes that the interval around a prediction should contain.

    """

    buckets: int = Field(default=5, ge=1)
    min_bucket_rows: int = Field(default=50, ge=2)
    min_probability: float = Field(default=0.01, ge=0.01, lt=0.5)
    calibration: Literal["platt", "none"] = "platt"
    interval_coverage: float = Field(default=0.9, gt=0, lt=1)
