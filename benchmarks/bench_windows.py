"""Windows of 32 days x 25 columns: gathered from our tensor, and by the loader of pytorch-forecasting, in one process.

Both start from local prices and end with batches of windows in memory, in random order. The loader of
pytorch-forecasting (`TimeSeriesDataSet`) makes one window at a time and collates them; it loads the same columns
without normalisation, and its construction is not timed. Only this package comes from the peers' environment (`make
peers`): torch, Lightning and pandas are this project's own.
"""

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.ratio import Ratio, alternating, peer_packages
from quant_assets.learning.transformer.inputs import COLUMNS, FIELDS
from quant_assets.learning.transformer.windows import DAYS, WindowTensor
from quant_assets.market.panel import Panel

TICKERS, SESSIONS = 100, 1000
BATCH = 1024

#: Windows of one timed run: about a second for each.
OURS, THEIRS = 100 * BATCH, 4 * BATCH


def measure() -> list[Ratio]:
    """Both on one thread, so that other work affects both; the note has the windows per second."""
    torch.set_num_threads(1)
    tensor = WindowTensor.of(panel())
    ours = gathered(tensor)
    theirs = loaded(tensor)
    what, note = f"{THEIRS:,} windows of {DAYS} x {len(COLUMNS)}, batches of {BATCH:,}", "{:,.0f} windows a second"
    if theirs is None:
        (seconds,) = alternating(ours)
        scaled = seconds * THEIRS / OURS
        return [Ratio("windows", what, scaled, "pytorch-forecasting", None, note.format(OURS / seconds))]
    seconds, their_seconds = alternating(ours, theirs)
    rates = f"{note.format(OURS / seconds)}, theirs {THEIRS / their_seconds:,.0f}; both on 1 thread"
    return [Ratio("windows", what, seconds * THEIRS / OURS, "pytorch-forecasting, 1 process", their_seconds, rates)]


def panel() -> Panel:
    """Bars of random walks."""
    rng = np.random.default_rng(32)
    shape = (TICKERS, SESSIONS)
    days = np.busday_offset("2015-01-01", np.arange(SESSIONS), roll="forward").astype("datetime64[D]")
    close = 50.0 * np.exp(np.cumsum(0.015 * rng.standard_normal(shape), axis=1))
    prices = {name: close * np.exp(0.005 * rng.standard_normal(shape)) for name in FIELDS[:3]}
    volume = np.round(rng.lognormal(13.0, 0.5, shape))
    names = tuple(f"T{place:03d}" for place in range(TICKERS))
    return Panel(names, days, prices | {"close": close, "volume": volume})


def gathered(tensor: WindowTensor) -> Callable[[], object]:
    """`OURS` windows in batches, each read once."""
    positions = torch.nonzero(tensor.usable)[:, 0]
    order = positions[torch.randint(len(positions), (OURS,), generator=torch.Generator().manual_seed(1))]
    return lambda: [_read(tensor.gather(batch)) for batch in order.split(BATCH)]


def loaded(tensor: WindowTensor) -> Callable[[], object] | None:
    """`THEIRS` windows in batches; None where the peer is not installed."""
    packages = peer_packages()
    if packages is None or not (packages / "pytorch_forecasting").is_dir():
        return None
    sys.path.append(str(packages))  # at the end: everything except the peer is ours
    try:
        from pytorch_forecasting import TimeSeriesDataSet
    finally:
        sys.path.remove(str(packages))
    first = int(torch.isfinite(tensor.store).all(dim=2).all(dim=0).nonzero()[0, 0])
    values = tensor.store[:, first:].reshape(-1, len(COLUMNS)).numpy()
    count = tensor.panel.shape[1] - first
    frame = pd.DataFrame(values, columns=list(COLUMNS)).assign(
        ticker=np.repeat(tensor.panel.tickers, count), time=np.tile(np.arange(count), TICKERS), outcome=values[:, 0]
    )
    lengths: dict[str, Any] = {"max_encoder_length": DAYS, "min_encoder_length": DAYS, "max_prediction_length": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = TimeSeriesDataSet(
            frame,
            time_idx="time",
            target="outcome",
            group_ids=["ticker"],
            time_varying_unknown_reals=list(COLUMNS),
            target_normalizer=None,
            scalers=dict.fromkeys(COLUMNS),
            **lengths,
        )
        loader = data.to_dataloader(train=True, batch_size=BATCH, num_workers=0)

    def run() -> None:
        for number, (inputs, _) in enumerate(loader, start=1):
            shape = tuple(inputs["encoder_cont"].shape)
            if shape != (BATCH, DAYS, len(COLUMNS)):
                raise ValueError(f"pytorch-forecasting gave a batch of shape {shape}")
            _read(inputs["encoder_cont"])
            if number * BATCH == THEIRS:
                return
        raise ValueError(f"pytorch-forecasting gave fewer than {THEIRS} windows")

    return run


def _read(batch: torch.Tensor) -> float:
    return float(batch[:, -1, 0].sum())
