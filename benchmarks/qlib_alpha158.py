"""Qlib's own Alpha158 over arrays from a file.

Runs in the peers' environment (`make peers`), so it imports nothing of this project.
"""

import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import qlib
from qlib.contrib.data.loader import Alpha158DL
from qlib.data import D
from qlib.data.cache import H

FIELDS = ("open", "high", "low", "close", "volume", "vwap")


def store(folder: Path, tickers: Sequence[str], days: np.ndarray, fields: Mapping[str, np.ndarray]) -> None:
    """Write Qlib's binary format: a file of float32 for each ticker and field, from the ticker's first bar to its last.

    Args:
        folder: an empty one.
        tickers: n_tickers symbols.
        days: datetime64[D] of shape (n_sessions,).
        fields: `FIELDS` to float arrays of shape (n_tickers, n_sessions), NaN where there is no bar.

    """
    for name in ("calendars", "instruments"):
        (folder / name).mkdir()
    (folder / "calendars" / "day.txt").write_text("".join(f"{day}\n" for day in days))
    lines = []
    for i, ticker in enumerate(tickers):
        bars = np.flatnonzero(~np.isnan(fields["close"][i]))
        first, last = int(bars[0]), int(bars[-1])
        lines.append(f"{ticker}\t{days[first]}\t{days[last]}\n")
        home = folder / "features" / ticker.lower()
        home.mkdir(parents=True)
        for name in FIELDS:
            np.concatenate([[first], fields[name][i, first : last + 1]]).astype("<f4").tofile(home / f"{name}.day.bin")
    (folder / "instruments" / "all.txt").write_text("".join(lines))


def start(folder: Path, workers: int) -> None:
    """Initialise Qlib on a folder, with a number of processes and without caches on disk."""
    qlib.init(provider_uri=str(folder), expression_cache=None, dataset_cache=None, logging_level=40, kernels=workers)


def alpha158(tickers: Sequence[str]) -> pd.DataFrame:
    """Qlib's 158 columns by (instrument, datetime), for every session from a ticker's first bar to its last.

    They are float32 and have Qlib's names.
    """
    expressions, names = Alpha158DL.get_feature_config()
    frame = D.features(list(tickers), expressions, freq="day")
    frame.columns = names
    return frame


def measure(arrays: Path, workers: int) -> float:
    """Seconds of one computation over the arrays of an .npz file, after a small one that warms up.

    The file holds `tickers, days` and `FIELDS`.

    Qlib's cache of expressions is cleared before, so that it reads the binary files (some milliseconds per ticker) and
    computes.
    """
    data = np.load(arrays)
    tickers = [str(ticker) for ticker in data["tickers"]]
    with tempfile.TemporaryDirectory() as folder:
        store(Path(folder), tickers, data["days"], data)
        start(Path(folder), workers)
        alpha158(tickers[:workers])
        H.clear()
        begin = time.perf_counter()
        frame = alpha158(tickers)
        seconds = time.perf_counter() - begin
    if frame.shape[1] != 158:
        raise ValueError(f"Qlib gave {frame.shape[1]} columns, not 158")
    return seconds


if __name__ == "__main__":
    sys.stdout.write(f"{measure(Path(sys.argv[1]), int(sys.argv[2]))}\n")
