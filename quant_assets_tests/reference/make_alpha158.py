"""Makes alpha158.parquet: simulated bars and what Qlib's own engine computes from them.

    make peers
    .venv-peers/bin/python -m quant_assets_tests.reference.make_alpha158

Prices are multiples of 1/64 and volumes whole numbers below 2^24: exact in float32, in which Qlib stores them, and so
are their differences. Qlib also rounds ratios of prices and logarithms of volume to float32. Days move by 20 percent
and volumes by more, so that this rounding stays below 1e-6 of the correlations and deviations that are made of them; on
real prices it reaches 4e-5.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import qlib_alpha158

TICKERS = ("FLAT", "HALT", "LATE", "TIES")
SESSIONS = 280
BARS = ("open", "high", "low", "close", "volume")
EXPECTED = Path(__file__).with_name("alpha158.parquet")


def bars() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Days of shape (n_sessions,) and open, high, low, close, volume and typical price of shape (n_tickers,
    n_sessions)."""
    rng = np.random.default_rng(158)
    shape = (len(TICKERS), SESSIONS)
    days = np.busday_offset("2019-01-01", np.arange(SESSIONS), roll="forward")
    steps = 0.2 * rng.normal(size=shape)
    path = np.zeros(shape)
    for j in range(1, SESSIONS):  # pulled back, so that prices stay between about 10 and 200
        path[:, j] = 0.9 * path[:, j - 1] + steps[:, j]
    grid = np.array([[64.0], [64.0], [64.0], [1.0]])  # steps of a price: TIES trades at whole dollars
    close = np.round(45.0 * np.exp(path) * grid) / grid
    close[0, 120:200] = close[0, 120]  # FLAT does not move for longer than the longest window
    open_ = np.round(close * np.exp(0.02 * rng.normal(size=shape)) * grid) / grid
    high = np.maximum(open_, close) + np.round(np.abs(rng.normal(size=shape)) * grid) / grid
    low = np.minimum(open_, close) - np.round(np.abs(rng.normal(size=shape)) * grid) / grid
    volume = np.round(np.minimum(rng.lognormal(7.0, 1.2, shape), 2.0**23))
    open_[0, 150:160] = high[0, 150:160] = low[0, 150:160] = close[0, 120]  # and some of these bars have no range
    volume[1, 40:44] = 0.0
    there = np.ones(shape, dtype=bool)
    there[1, 130:142] = False  # HALT: a halt, single sessions without a bar, sessions without volume
    there[1, [80, 90, 91, 200]] = False
    there[2, :75] = False  # LATE lists late and is delisted early
    there[2, 255:] = False
    fields = {"open": open_, "high": high, "low": low, "close": close, "volume": volume}
    fields = {name: np.where(there, values, np.nan) for name, values in fields.items()}
    fields["vwap"] = (fields["high"] + fields["low"] + fields["close"]) / 3.0
    return days, fields


def expected() -> pd.DataFrame:
    """`ticker, date`, the bars and Qlib's 158 columns; one row for each session from a ticker's first bar to its
    last."""
    days, fields = bars()
    with tempfile.TemporaryDirectory() as folder:
        qlib_alpha158.store(Path(folder), TICKERS, days, fields)
        qlib_alpha158.start(Path(folder), workers=1)
        values = qlib_alpha158.alpha158(TICKERS)
    given = pd.concat(
        pd.DataFrame({"ticker": ticker, "date": days} | {name: fields[name][i].astype(np.float32) for name in BARS})
        for i, ticker in enumerate(TICKERS)
    )
    values.index.names = ["ticker", "date"]
    return given.merge(values.reset_index(), on=["ticker", "date"], validate="one_to_one")


if __name__ == "__main__":
    frame = expected()
    encoding = {name: "BYTE_STREAM_SPLIT" for name in frame.columns if frame[name].dtype == np.float32}
    frame.to_parquet(
        EXPECTED, index=False, compression="zstd", compression_level=19, use_dictionary=False, column_encoding=encoding
    )
