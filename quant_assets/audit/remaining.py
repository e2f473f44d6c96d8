"""The remaining time of an audit, extrapolated from the work done so far. No computation of rows."""

import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field


@dataclass
class Remaining:
    """The work of an audit, in partitions to be computed.

    Attributes:
        parts: their number; parts whose work is not known yet count like the mean of the others.
        clock: returns seconds.

    """

    parts: int
    clock: Callable[[], float] = time.monotonic
    _asked: list[int] = field(default_factory=list)
    _done: int = 0
    _began: float | None = None

    def begins(self, steps: Collection[int]) -> None:
        """Register a part by the work of its steps."""
        self._began = self.clock() if self._began is None else self._began
        self._asked.append(sum(steps))

    def ends(self, work: int) -> None:
        """Register that a step is done."""
        self._done += work

    def __str__(self) -> str:
        """For example "about 2 h 10 min left"; empty before a twentieth of a part is done."""
        if self._began is None or not self._asked:
            return ""
        mean = sum(self._asked) / len(self._asked)
        if self._done < 0.05 * mean or not self._done:
            return ""
        left = max(0.0, mean * self.parts - self._done) * (self.clock() - self._began) / self._done
        hours, minutes = divmod(math.ceil(left / 60.0), 60)
        return f"about {hours} h {minutes:02d} min left" if hours else f"about {minutes} min left"
