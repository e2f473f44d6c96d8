"""vectorbt's `Portfolio.from_orders` over trades from a file, in the peers' environment.

Run as `python -m benchmarks.vectorbt_simulation ARRAYS OUT`: ARRAYS holds `close`, `sizes` (shares, 0 for none), `fees`
(share of the traded value), each (n_sessions, n_names), and `repetitions`. Prints the median seconds of the simulation
and its value; writes the value of the book after each close to OUT.
"""

import statistics
import sys
import time

import numpy as np
import pandas as pd
import vectorbt as vbt


def main(arrays: str, out: str) -> None:
    """Measure, after one run that may compile."""
    data = np.load(arrays)
    days = pd.bdate_range("2000-01-03", periods=len(data["close"]))
    names = [f"N{i:03d}" for i in range(data["close"].shape[1])]
    close, sizes, fees = (pd.DataFrame(data[name], index=days, columns=names) for name in ("close", "sizes", "fees"))
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

    value, times = simulate(), []
    for _ in range(int(data["repetitions"])):
        start = time.perf_counter()
        value = simulate()
        times.append(time.perf_counter() - start)
    np.save(out, value)
    print(statistics.median(times))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
