"""Windows of days, gathered from one tensor of a sector or market. Module `inputs` describes the columns.

The tensor holds each day once; a batch of windows is copied out of it in one call.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from quant_assets.errors import DatasetError
from quant_assets.learning.transformer.inputs import (
    COLUMNS,
    FIELDS,
    LOOKBACK,
    PER_FIELD,
    Normalisation,
    columns,
    full_sample_maximum,
    refuse_look_ahead,
    running_maximum,
)
from quant_assets.market.panel import BoolArray, IntArray, Panel

#: Sessions of a window.
DAYS = 32

#: Share of a window's sessions that must have a bar.
COVERAGE = 0.9


@dataclass(frozen=True)
class WindowTensor:
    """The days of a panel's names, and the sessions at which a window may end.

    A window ends at a session with a bar, has bars in a share `coverage` of its sessions and values (own or carried
    forward, see `inputs.columns`) in every column of all of them, and there is no unexplained price step in the
    sessions behind these values. Its position is the number `ticker * n_sessions + session`.

    Attributes:
        panel: names and sessions, without fields.
        store: float32 of shape (n_tickers, n_sessions, 25), in the units of the bars, NaN where missing; a window is
            one block of memory.
        mask: whether the session has a bar, shape (n_sessions, n_tickers).
        scale: float32 of shape (n_tickers, n_sessions, 5): divisors of a window that ends there.
        usable: whether a window may end there, by position, shape (n_tickers * n_sessions,).
        normalisation: the kind of `scale`.
        days: sessions of a window.

    """

    panel: Panel
    store: Tensor
    mask: Tensor
    scale: Tensor
    usable: Tensor
    normalisation: Normalisation
    days: int

    @classmethod
    def of(
        cls,
        panel: Panel,
        *,
        normalisation: Normalisation = "running_maximum",
        maximum_sessions: int | None = None,
        days: int = DAYS,
        coverage: float = COVERAGE,
        unexplained: BoolArray | None = None,
    ) -> Self:
        """The tensor of a panel.

        Args:
            panel: panel with `inputs.FIELDS`, from the start of the first window's history.
            normalisation: the divisors of windows.
            maximum_sessions: length of the running maximum; None: from the panel's first session.
            days: sessions of a window.
            coverage: share of them, rounded up, that must have a bar.
            unexplained: whether the price step to the bar is unexplained, shape (n_tickers, n_sessions); the running
                maximum restarts there. None: no such steps.

        """
        values, traded = columns(panel)
        if normalisation == "running_maximum":
            scale = running_maximum(panel, maximum_sessions, unexplained)
        else:
            scale = full_sample_maximum(panel)
        bars = _of_the_last(traded, days)
        known = _of_the_last(np.all(np.isfinite(values), axis=2), days)
        enough = bars >= np.ceil(round(coverage * days, 9))
        usable = traded & enough & (known == days) & np.isfinite(scale).all(axis=2)
        if unexplained is not None:
            usable &= _of_the_last(unexplained, days + LOOKBACK) == 0
        return cls(
            replace(panel, fields={}),
            torch.from_numpy(values.astype(np.float32)),
            torch.from_numpy(traded.T),
            torch.from_numpy(scale.astype(np.float32)),
            torch.from_numpy(usable.ravel()),
            normalisation,
            days,
        )

    @property
    def values(self) -> Tensor:
        """Shape (n_sessions, n_tickers, 25): a view of the store."""
        return self.store.transpose(0, 1)

    def to(self, device: torch.device | str) -> Self:
        """A copy on a device; windows are then gathered there."""
        moved = {name: getattr(self, name).to(device) for name in ("store", "mask", "scale", "usable")}
        return replace(self, **moved)

    def for_training(self) -> Self:
        """Itself, after checking that its windows may be used in training.

        Raises:
            HistoryError: the normalisation knows the future.

        """
        refuse_look_ahead(self.normalisation)
        return self

    def index(self, dates: NDArray[np.datetime64], tickers: Sequence[str] | NDArray[np.object_]) -> Tensor:
        """Positions of windows by last session and ticker, -1 without a usable window.

        Args:
            dates: datetime64[D] of shape (n,).
            tickers: n symbols.

        Returns:
            int64 of shape (n,), on the CPU.

        """
        days = np.asarray(dates, dtype="datetime64[D]")
        names = pl.Series("ticker", list(tickers), dtype=pl.String)
        rows = self.panel.rows(pl.DataFrame({"ticker": names, "date": pl.Series(days, dtype=pl.Date)}))
        sessions = self.panel.sessions.astype("datetime64[D]")
        session: IntArray = np.searchsorted(sessions, days)
        exists = (rows >= 0) & (session < len(sessions))
        exists[exists] = sessions[session[exists]] == days[exists]
        positions = np.where(exists, rows * len(sessions) + session, -1)
        positions[exists] = np.where(self.usable.cpu().numpy()[positions[exists]], positions[exists], -1)
        return torch.from_numpy(positions)

    def between(self, first: date, last: date) -> Tensor:
        """Positions of all windows that end between two days, inclusive, by session and then ticker."""
        days = self.panel.sessions.astype("datetime64[D]")
        inside = (days >= np.datetime64(first)) & (days <= np.datetime64(last))
        usable = self.usable.cpu().reshape(self.panel.shape) & torch.from_numpy(inside)
        session, ticker = torch.nonzero(usable.T, as_tuple=True)
        return ticker * len(days) + session

    def session_of(self, indices: Tensor) -> Tensor:
        """Number of the last session of each window."""
        return indices % self.panel.shape[1]

    def ticker_of(self, indices: Tensor) -> Tensor:
        """Number of the ticker of each window in `panel.tickers`."""
        return indices // self.panel.shape[1]

    def gather(self, indices: Tensor) -> Tensor:
        """Windows by their positions, each divided by its maxima: float32 of shape (n, days, 25).

        Args:
            indices: int64 of shape (n,), on the tensor's device; from `index`, without -1, or `between`.

        Raises:
            DatasetError: a position has no usable window; names its ticker and date.

        """
        self.check(indices)
        return self.taken(indices)

    def check(self, indices: Tensor) -> None:
        """Raise the errors of `gather`; it synchronises with the device, so call it once and not per batch."""
        if len(indices) and not bool((indices >= 0).all() and self.usable[indices].all()):
            self._refuse(indices)

    def taken(self, indices: Tensor) -> Tensor:
        """`gather` without `check`; positions without a usable window give wrong days."""
        count, sessions = self.panel.shape
        width = self.days * len(COLUMNS)
        blocks = self.store.as_strided((max(count * sessions - self.days + 1, 0), width), (len(COLUMNS), 1))
        windows = blocks.index_select(0, indices - (self.days - 1)).view(-1, self.days, len(COLUMNS))
        # One divisor per column: six times faster than per field, which breaks the loop every five values.
        scale = self.scale.view(-1, 1, len(FIELDS)).index_select(0, indices).repeat_interleave(PER_FIELD, dim=2)
        return windows.div_(scale)

    def _refuse(self, indices: Tensor) -> None:
        if bool((indices < 0).any()):
            raise DatasetError("position -1 has no window; leave out these rows first")
        bad = int(indices[~self.usable[indices]][0])
        ticker, session = self.panel.tickers[bad // self.panel.shape[1]], self.panel.sessions[bad % self.panel.shape[1]]
        raise DatasetError(
            f"ticker {ticker} has too few bars in the {self.days} sessions up to {session}; use positions of index()"
        )


def _of_the_last(flags: NDArray[np.bool_], sessions: int) -> IntArray:
    """Count of true flags in the last `sessions` sessions, shape (n_tickers, n_sessions)."""
    count = np.cumsum(flags, axis=1, dtype=np.int64)
    count[:, sessions:] -= count[:, :-sessions].copy()
    return count
