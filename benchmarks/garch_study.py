"""`python -m benchmarks.garch_study FOLDER`: batched GARCH against arch on thousands of real windows, as a table.

FOLDER holds `prices_sp500_adjusted.parquet` (ticker, date, close) and `securities.parquet` (ticker, sector, as_of).
Windows of 750 sessions are drawn with a seed, the same number for each sector and calendar year of the window's last
session. It takes minutes, because of arch.
"""

import argparse
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from quant_assets.signals import garch

SESSIONS = 750
#: Differences of log-likelihoods and of volatilities below which they count as equal.
SAME_LIKELIHOOD, SAME_VOLATILITY = 1e-3, 5e-3


@dataclass(frozen=True)
class Windows:
    """Returns in percent, shape (n_windows, SESSIONS), with ticker, sector and last session of each window."""

    returns: NDArray[np.float64]
    ticker: NDArray[np.str_]
    sector: NDArray[np.str_]
    last: NDArray[np.datetime64]

    def fit(self, distribution: str) -> garch.GarchFits:
        """Our estimates of every window."""
        stops = SESSIONS * np.arange(1, len(self.ticker) + 1)
        return garch.fit(self.returns.ravel(), stops - SESSIONS, stops, "t" if distribution == "t" else "normal")


def draw(folder: Path, count: int, seed: int) -> Windows:
    """At least `count` windows, spread evenly over sectors and years."""
    sectors = (
        pl.read_parquet(folder / "securities.parquet").sort("as_of").group_by("ticker").agg(pl.col("sector").last())
    )
    prices = pl.read_parquet(folder / "prices_sp500_adjusted.parquet", columns=["ticker", "date", "close"]).sort(
        "ticker", "date"
    )
    ends = (
        prices.with_row_index("row")
        .with_columns(bar=pl.int_range(pl.len()).over("ticker"), year=pl.col("date").dt.year())
        .filter(pl.col("bar") >= SESSIONS)
        .join(sectors, on="ticker")
        .sort("sector", "year", "ticker", "date")
    )
    cells = ends.partition_by("sector", "year")
    size = -(-count // len(cells))
    rng = np.random.default_rng(seed)
    sample = pl.concat([cell[np.sort(rng.choice(len(cell), min(size, len(cell)), replace=False))] for cell in cells])
    logs = np.log(prices["close"].cast(pl.Float64).to_numpy())
    returns = np.stack([100.0 * np.diff(logs[row - SESSIONS : row + 1]) for row in sample["row"]])
    return Windows(
        returns,
        sample["ticker"].to_numpy().astype(str),
        sample["sector"].to_numpy().astype(str),
        sample["date"].to_numpy(),
    )


def arch_fits(windows: Windows, distribution: str) -> NDArray[np.float64]:
    """Arch's log-likelihood, optimiser's flag, variance forecast and alpha + beta of every window.

    The shape is (n_windows, 4).
    """
    from arch.univariate import GARCH, ConstantMean, Normal, StudentsT

    out = np.full((len(windows.ticker), 4), np.nan)
    for i, returns in enumerate(track(windows.returns, f"arch, {distribution}", console=Console(stderr=True))):
        model = ConstantMean(
            returns,
            volatility=GARCH(1, 0, 1),
            distribution=StudentsT() if distribution == "t" else Normal(),
            rescale=False,
        )
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            fitted = model.fit(disp="off", show_warning=False)
        mu, omega, alpha, beta = np.asarray(fitted.params)[:4]
        ahead = omega + alpha * (returns[-1] - mu) ** 2 + beta * fitted.conditional_volatility[-1] ** 2
        out[i] = fitted.loglikelihood, fitted.convergence_flag, ahead, alpha + beta
    return out


def compare(windows: Windows, distribution: str, console: Console) -> dict[str, str]:
    """Figures of one distribution by name; prints every window on which arch has a higher likelihood."""
    ours, theirs = windows.fit(distribution), arch_fits(windows, distribution)
    gain = ours.loglikelihood - theirs[:, 0]
    failed = theirs[:, 1] != 0
    agree = np.abs(gain) <= SAME_LIKELIHOOD
    apart = np.abs(np.sqrt(ours.variance / theirs[:, 2]) - 1.0)
    year = windows.last.astype("datetime64[Y]").astype(int) + 1970
    below = gain < -SAME_LIKELIHOOD
    outside = (
        theirs[:, 3] > 1.0
    )  # arch's optimiser allows some slack in its constraint alpha + beta < 1; ours stops at 1 - 1e-9
    figures = {
        "windows": f"{len(gain)}",
        "of them ending in 2008, in 2020": f"{np.sum(year == 2008)}, {np.sum(year == 2020)}",
        "ours converged": f"{ours.converged.mean():.2%}",
        "log-likelihood not below arch's by more than 1e-3": f"{1.0 - below.mean():.3%} (below on {below.sum()})",
        "  below where arch's alpha + beta is above 1": f"{np.sum(below & outside)} (of {outside.sum()} such windows)",
        "  the share without such windows": f"{1.0 - below[~outside].mean():.3%} (below on {np.sum(below & ~outside)})",
        "log-likelihoods agree within 1e-3": f"{agree.sum()}",
        "of them one-step volatility within 0.5 %": (
            f"{np.mean(apart[agree] < SAME_VOLATILITY):.2%} (largest gap {apart[agree].max():.3%})"
        ),
        "arch's optimiser reports failure": f"{failed.sum()}",
        "arch in a worse optimum, by more than 1e-3": f"{np.sum(gain > SAME_LIKELIHOOD)}",
        "  by more than 1": f"{np.sum(gain > 1.0)}",
        "  by more than 10": f"{np.sum(gain > 10.0)}",
        "there, median gap of the one-step volatilities": f"{np.median(apart[gain > SAME_LIKELIHOOD]):.1%}",
        "windows that took more than 4 starts": f"{np.sum(ours.starts > 4)}",
        "alpha = 0; beta = 0; alpha + beta at 1": f"{np.sum(ours.alpha == 0)}; {np.sum(ours.beta == 0)}; "
        f"{np.sum(ours.alpha + ours.beta > 1 - 1e-8)}",
    }
    for i in np.flatnonzero(below):
        console.print(
            f"{distribution}: {windows.ticker[i]} to {windows.last[i]}: ours {gain[i]:+.4f}; alpha + beta ours "
            f"{ours.alpha[i] + ours.beta[i]:.9f}, arch {theirs[i, 3]:.9f}; arch's flag {theirs[i, 1]:.0f}",
            highlight=False,
        )
    return figures


def main() -> None:
    """Draw, fit with both, print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--windows", type=int, default=3_300)
    arguments.add_argument("--seed", type=int, default=20)
    chosen = arguments.parse_args()
    windows = draw(chosen.folder, chosen.windows, chosen.seed)
    console = Console(width=140)
    normal, student = (compare(windows, distribution, console) for distribution in ("normal", "t"))
    table = Table("", "normal", "t", title=f"GARCH(1,1) on {len(windows.ticker)} windows of {SESSIONS} sessions")
    for name, figure in normal.items():
        table.add_row(name, figure, student[name])
    console.print(table)


if __name__ == "__main__":
    main()
