"""Observers of the fits and forecasts of this process, such as the audit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from quant_assets.learning.rows import Distribution, Rows

if TYPE_CHECKING:
    from quant_assets.learning.models.base import FittedModel


class Observer(Protocol):
    """Receives every fit and forecast of this process, from `learning.models.base`."""

    def fitted(self, name: str, rows: Rows, validation: Rows, model: FittedModel) -> None:
        """Called after model `name` was fitted, or updated with `rows`; an update has no validation rows."""

    def predicted(self, model: FittedModel, rows: Rows, forecasts: Distribution) -> None:
        """Called after a model forecast `rows`."""


#: Observers of the open `observed_by` blocks.
OBSERVERS: list[Observer] = []


@contextmanager
def observed_by(observer: Observer) -> Iterator[None]:
    """Report every fit and forecast to an observer until the end of the block."""
    OBSERVERS.append(observer)
    try:
        yield
    finally:
        OBSERVERS.remove(observer)


def is_observed() -> bool:
    """Whether there are observers: fits must then run in this process."""
    return bool(OBSERVERS)
