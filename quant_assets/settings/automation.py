"""Settings of what runs by itself: when it looks, waits and leaves things alone. No rows follow from them."""

from pydantic import Field

from quant_assets.settings.group import SettingsGroup


class RevisionSettings(SettingsGroup):
    """What is done where a provider gives other rows than are stored for months that are over.

    Its files are looked into once none of them has changed for `settle_minutes`: one that is being written is not
    judged. Partitions of the `recompute_months` months before the newest one are computed again with all that reads
    them, older ones are reported and left as they are (null: none is too old). A look that fails is repeated after
    `retry_minutes`, twice that, and so on, `attempts` times; then only when a file changes again. The sensor ticks
    every `tick_seconds`.
    """

    settle_minutes: float = Field(default=10.0, ge=0)
    recompute_months: int | None = Field(default=24, ge=1)
    attempts: int = Field(default=4, ge=1)
    retry_minutes: float = Field(default=15.0, ge=0)
    tick_seconds: int = Field(default=300, ge=1)


class FreshnessSettings(SettingsGroup):
    """Which assets are watched, by sector, and how many closed sessions their newest partitions may lack.

    One session is lacking between a close and the end of the run that follows it. The sensor ticks every
    `tick_seconds`.
    """

    assets: tuple[str, ...] = ("ohlcv", "predictions", "weights")
    late_sessions: int = Field(default=1, ge=0)
    tick_seconds: int = Field(default=300, ge=1)


class VacuumSettings(SettingsGroup):
    """After how many days the events of an ended run are dispensable that are no state of any partition."""

    keep_days: int = Field(default=30, ge=1)
