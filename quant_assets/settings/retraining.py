"""Settings of the sensor `retrain`: when a training is due beside the cadence, and how often it is asked for."""

from pydantic import Field

from quant_assets.settings.group import SettingsGroup


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
