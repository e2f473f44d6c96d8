"""A clock that does not wait."""

from datetime import UTC, datetime, timedelta


class SimulatedClock:
    """Waiting moves it on; `slept` has how long each time."""

    def __init__(self, start: datetime = datetime(2026, 11, 30, 22, 0, tzinfo=UTC)) -> None:
        self._now = start
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self._now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._now += timedelta(seconds=seconds)
