"""vectorbt's `Portfolio.from_orders` over trades that are given, in the peers' environment.

Run as `python -m benchmarks.vectorbt_simulation ARRAYS OUT`: ARRAYS holds `close`, `sizes` (shares, 0 for none), `fees`
(share of the traded value), each (n_sessions, n_names), and `repetitions`. Prints the median seconds of the simulation
with its value; writes the value of the book after each close to OUT.
"""

import statistics
import sys
import time

import numpy as np
import pandas as pd
import vectorbt as vbt


def main(arrays: str, out: str) -> None:
    """Measure, after one run that may compile."""
    given = np.load(arrays)
    days = pd.bdate_range("2000-01-03", periods=len(given["close"]))
    names = [f"N{i:03d}" for i in range(given["close"].shape[1])]
    close, sizes, fees = (pd.DataFrame(given[each], index=days, columns=names) for each in ("close", "sizes", "fees"))
    sizes = sizes.where(sizes != 0.0)  # NaN is no order

    def simulate() -> np.ndarray:
        book = vbt.Portfolio.from_orders(
            close,
            size=sizes,
            price=close,
            fees=fees,
            init_cash=1.0,
            cash_sharing=True,
            group_by=True,
            freq="D",
            size_type="amount",
            direction="both",
            call_seq="auto",
            min_size=0.0,
        )
        return np.asarray(book.value())

    value, taken = simulate(), []
    for _ in range(int(given["repetitions"])):
        start = time.perf_counter()
        value = simulate()
        taken.append(time.perf_counter() - start)
    np.save(out, value)
    print(statistics.median(taken))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
