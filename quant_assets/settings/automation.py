"""Settings of what runs by itself: when it looks, waits and leaves things alone. No rows follow from them."""

from pydantic import Field

from quant_assets.settings.group import SettingsGroup


class RevisionSettings(SettingsGroup):
    """What is done where a provider gives other rows than are stored for months that are over.

    Attributes:
        settle_minutes: how long no file may have changed before the files are looked into: one that is being written is
            not judged.
        recompute_months: months before the newest one whose partitions are computed again with all that reads them;
            older ones are reported and left as they are. Null: none is too old.
        attempts: how often a look that fails is tried; then only when a file changes again.
        retry_minutes: wait before the second try; twice that before the third, and so on.
        tick_seconds: interval of the sensor.

    """

    settle_minutes: float = Field(default=10.0, ge=0)
    recompute_months: int | None = Field(default=24, ge=1)
    attempts: int = Field(default=4, ge=1)
    retry_minutes: float = Field(default=15.0, ge=0)
    tick_seconds: int = Field(default=300, ge=1)


class FreshnessSettings(SettingsGroup):
    """Which assets are watched, by sector, for being late.

    Attributes:
        assets: their names.
        late_sessions: closed sessions that the newest partition may lack. One session is lacking between a close and
            the end of the run that follows it.
        tick_seconds: interval of the sensor.

    """

    assets: tuple[str, ...] = ("ohlcv", "predictions", "weights")
    late_sessions: int = Field(default=1, ge=0)
    tick_seconds: int = Field(default=300, ge=1)


class VacuumSettings(SettingsGroup):
    """What `quant instance vacuum` removes from Dagster's records.

    Attributes:
        keep_days: days after the end of a run for which those of its events are kept that are no state of any
            partition.

    """

    keep_days: int = Field(default=30, ge=1)


class RetrainingSettings(SettingsGroup):
    """When checkpoints are trained again, and how their runs are asked for; see docs/retraining.md.

    That of a training month (`training.cadence_months`) is due at its close, whatever is said here, and so is one whose
    code or settings have changed since. `drift` says when features have drifted.

    Attributes:
        matured_sessions: sessions of labels that have become known since the newest training from which on it is
            trained again in any month; null leaves that to the cadence, which is a rule for the same.
        on_drift: whether a drift in a month that is no training month is a reason.
        on_low_ic: whether a rank IC below its interval is one, in such a month.
        ic_confidence: with which the realised rank IC of the newest checkpoint must lie below that over its test folds;
            shared among the horizons. At 0.99 one sound checkpoint in a hundred is trained for nothing.
        ic_min_sessions: sessions with known outcomes before that is judged; of longer horizons two of them.
        max_attempts: runs that may fail before a person is needed; what is asked for may change before.
        backoff_minutes: between a failed run and the next one; twice that after the second, and so on.
        max_requests: runs that are asked for at once.

    """

    matured_sessions: int | None = Field(default=None, ge=1)
    on_drift: bool = True
    on_low_ic: bool = True
    ic_confidence: float = Field(default=0.99, gt=0.5, lt=1)
    ic_min_sessions: int = Field(default=20, ge=2)
    max_attempts: int = Field(default=4, ge=1, le=20)
    backoff_minutes: int = Field(default=15, ge=1)
    max_requests: int = Field(default=4, ge=1)
