"""Windows of days, gathered from one tensor of a sector or market. What the columns are is in `inputs`.

No window is kept: the tensor holds each day once, and a batch of windows is copied out of it in one call.
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
    """The days of a panel's names, and which of them a window may end at.

    A window ends at a session with a bar, has one at `coverage` of its sessions, and a value (its own, or one that
    stands in, see `inputs.columns`) in every column of all of them, and no price step that nothing explains is among
    the sessions that these follow from. Its position is a number, `ticker * n_sessions + session`, the same whatever is
    asked for.

    Attributes:
        panel: names and sessions, without fields.
        store: float32 of shape (n_tickers, n_sessions, 25), in the units of the bars, NaN where missing; one window is
            one block of memory.
        mask: whether the session has a bar, shape (n_sessions, n_tickers).
        scale: float32 of shape (n_tickers, n_sessions, 5): what a window that ends there is divided by.
        usable: whether a window may end there, by position, shape (n_tickers * n_sessions,).
        normalisation: what `scale` is.
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
            panel: with `inputs.FIELDS`; the sessions before those that are asked for are history.
            normalisation: what windows are divided by.
            maximum_sessions: how far the running maximum looks back; None: to the panel's first session.
            days: sessions of a window.
            coverage: share of them, rounded up, that must have a bar.
            unexplained: whether a price step that nothing explains leads to the bar, shape (n_tickers, n_sessions); the
                running maximum begins anew there. None: there is none.

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
        """The same on a device; windows are then gathered there."""
        moved = {name: getattr(self, name).to(device) for name in ("store", "mask", "scale", "usable")}
        return replace(self, **moved)

    def for_training(self) -> Self:
        """Itself, where its windows may be trained on.

        Raises:
            HistoryError: their normalisation knows the future.

        """
        refuse_look_ahead(self.normalisation)
        return self

    def index(self, dates: NDArray[np.datetime64], tickers: Sequence[str] | NDArray[np.object_]) -> Tensor:
        """Positions of windows by their last session and ticker, -1 where there is none that may be used.

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
        at: IntArray = np.searchsorted(sessions, days)
        there = (rows >= 0) & (at < len(sessions))
        there[there] = sessions[at[there]] == days[there]
        found = np.where(there, rows * len(sessions) + at, -1)
        found[there] = np.where(self.usable.cpu().numpy()[found[there]], found[there], -1)
        return torch.from_numpy(found)

    def between(self, first: date, last: date) -> Tensor:
        """Positions of every window that ends between two days, both included, by session and then by ticker."""
        days = self.panel.sessions.astype("datetime64[D]")
        inside = (days >= np.datetime64(first)) & (days <= np.datetime64(last))
        usable = self.usable.cpu().reshape(self.panel.shape) & torch.from_numpy(inside)
        session, ticker = torch.nonzero(usable.T, as_tuple=True)
        return ticker * len(days) + session

    def session_of(self, indices: Tensor) -> Tensor:
        """Number of the last session of each window: tells the dates apart (`losses.ranking_loss`)."""
        return indices % self.panel.shape[1]

    def ticker_of(self, indices: Tensor) -> Tensor:
        """Number of the ticker of each window in `panel.tickers`."""
        return indices // self.panel.shape[1]

    def gather(self, indices: Tensor) -> Tensor:
        """Windows by their positions, each divided by its maxima: float32 of shape (n, days, 25).

        Args:
            indices: int64 of shape (n,), on the tensor's device; from `index`, where it is not -1, or `between`.

        Raises:
            DatasetError: a position has no window that may be used; names its ticker and date.

        """
        self.check(indices)
        return self.taken(indices)

    def check(self, indices: Tensor) -> None:
        """Raise what `gather` does; on a device the answer is waited for, so it is asked for once and not per batch."""
        if len(indices) and not bool((indices >= 0).all() and self.usable[indices].all()):
            self._refuse(indices)

    def taken(self, indices: Tensor) -> Tensor:
        """What `gather` gives for positions that `check` has passed; of others it would be some other days."""
        count, sessions = self.panel.shape
        width = self.days * len(COLUMNS)
        blocks = self.store.as_strided((max(count * sessions - self.days + 1, 0), width), (len(COLUMNS), 1))
        windows = blocks.index_select(0, indices - (self.days - 1)).view(-1, self.days, len(COLUMNS))
        # A divisor for each column: six times faster than one for each field, which breaks the loop every five values.
        scale = self.scale.view(-1, 1, len(FIELDS)).index_select(0, indices).repeat_interleave(PER_FIELD, dim=2)
        return windows.div_(scale)

    def _refuse(self, indices: Tensor) -> None:
        if bool((indices < 0).any()):
            raise DatasetError("a window was asked for at position -1, where there is none; leave such rows out first")
        bad = int(indices[~self.usable[indices]][0])
        ticker, session = self.panel.tickers[bad // self.panel.shape[1]], self.panel.sessions[bad % self.panel.shape[1]]
        raise DatasetError(
            f"ticker {ticker} has too few bars in the {self.days} sessions up to {session}; ask index() for its window"
        )


def _of_the_last(flags: NDArray[np.bool_], sessions: int) -> IntArray:
    """How many of the last so many sessions are true; shape (n_tickers, n_sessions)."""
    count = np.cumsum(flags, axis=1, dtype=np.int64)
    count[:, sessions:] -= count[:, :-sessions].copy()
    return count
