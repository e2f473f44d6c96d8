"""Who looks on at the fits and forecasts of this process, such as the audit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from quant_assets.learning.rows import Distribution, Rows

if TYPE_CHECKING:
    from quant_assets.learning.models.base import FittedModel


class Observer(Protocol):
    """Is told of every fit and forecast of this process."""

    def fitted(self, name: str, rows: Rows, validation: Rows, model: FittedModel) -> None:
        """Model `name` has been fitted."""

    def predicted(self, model: FittedModel, rows: Rows, found: Distribution) -> None:
        """Forecasts have been made."""


#: Those who look on now.
OBSERVERS: list[Observer] = []


@contextmanager
def observed_by(observer: Observer) -> Iterator[None]:
    """Tell an observer of every fit and forecast until the end of the block."""
    OBSERVERS.append(observer)
    try:
        yield
    finally:
        OBSERVERS.remove(observer)


def is_observed() -> bool:
    """Whether somebody looks at the fits of this process, so that they must not happen in another."""
    return bool(OBSERVERS)
