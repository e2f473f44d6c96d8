"""Settings of schedules and sensors: intervals, pauses and limits. They do not affect rows."""

from pydantic import Field

from quant_assets.settings.group import SettingsGroup


class RevisionSettings(SettingsGroup):
    """Handling of past months for which a provider's files differ from the stored rows.

    Attributes:
        settle_minutes: minutes without a change of any file before the files are examined, so that files are not read
            while they are written.
        recompute_months: months before the newest one whose partitions are recomputed with all their readers; older
            ones are only reported. Null: no limit.
        attempts: attempts of a failing look; after them, a file must change again.
        retry_minutes: pause before the second attempt; twice that before the third, and so on.
        tick_seconds: interval of the sensor.

    """

    settle_minutes: float = Field(default=10.0, ge=0)
    recompute_months: int | None = Field(default=24, ge=1)
    attempts: int = Field(default=4, ge=1)
    retry_minutes: float = Field(default=15.0, ge=0)
    tick_seconds: int = Field(default=300, ge=1)


class FreshnessSettings(SettingsGroup):
    """Assets that are checked for late data, by sector.

    Attributes:
        assets: names of the assets.
        late_sessions: closed sessions that may be missing from the newest partition. Between a close and the end of the
            following run, one session is missing.
        tick_seconds: interval of the sensor.

    """

    assets: tuple[str, ...] = ("ohlcv", "predictions", "weights")
    late_sessions: int = Field(default=1, ge=0)
    tick_seconds: int = Field(default=300, ge=1)


class VacuumSettings(SettingsGroup):
    """Removal of Dagster's records by `quant vacuum`.

    Attributes:
        keep_days: days after the end of a run for which its events are kept; events that hold the state of a partition
            are always kept.

    """

    keep_days: int = Field(default=30, ge=1)


class RetrainingSettings(SettingsGroup):
    """When checkpoints are trained again, and how the runs are requested; see docs/retraining.md.

    Independent of these settings, a training is due at the close of a training month (`training.cadence_months`), and
    when its code or settings have changed. `drift` defines when features have drifted.

    Attributes:
        matured_sessions: number of sessions whose labels became known since the newest training, from which a new
            training is due in any month; null leaves this to the cadence.
        on_drift: whether drift is a reason for training in a month that is not a training month.
        on_low_ic: whether a rank IC below its interval is such a reason.
        ic_confidence: confidence that the realised rank IC of the newest checkpoint is below that of its test folds;
            corrected for the number of models of a dataset and their horizons. At 0.99 one sound dataset of checkpoints
            in a hundred is trained unnecessarily.
        ic_min_sessions: least number of sessions with known outcomes for that test; at least twice the horizon.
        max_attempts: failed runs after which a person must act, unless the reasons change.
        backoff_minutes: pause between a failed run and the next one; twice that after the second, and so on.
        max_requests: greatest number of runs requested at once.

    """

    matured_sessions: int | None = Field(default=None, ge=1)
    on_drift: bool = True
    on_low_ic: bool = True
    ic_confidence: float = Field(default=0.99, gt=0.5, lt=1)
    ic_min_sessions: int = Field(default=20, ge=2)
    max_attempts: int = Field(default=4, ge=1, le=20)
    backoff_minutes: int = Field(default=15, ge=1)
    max_requests: int = Field(default=4, ge=1)
