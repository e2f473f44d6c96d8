"""Compiles the slowest numerical loops of a first run ahead, in two processes beside the workers.

Otherwise every worker compiles all of them. A worker that needs a loop earlier compiles it itself.
"""

import multiprocessing
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import numpy as np

from quant_assets import catalogue
from quant_assets.running.processes import beside
from quant_assets.settings.loading import Settings
from quant_assets.signals import garch
from quant_assets.signals.cross_section import rank, zscore
from quant_assets.windows.recomputation import made_up
from quant_assets.windows.windows import Windows


@contextmanager
def compiling(settings: Settings, datasets: Collection[str]) -> Iterator[None]:
    """Compile the loops of the `datasets` that will be computed; the processes end with the context."""
    of_dataset = {"indicators": volatility, "features": features}
    calls = [function for dataset, function in of_dataset.items() if dataset in datasets]
    with beside(multiprocessing.get_context("spawn"), calls, settings):
        yield


def volatility(settings: Settings) -> None:
    """Compile the loops of `indicators.garch_volatility`."""
    rules = settings.indicators.garch
    days, fields = made_up(rules.window)
    first, last = days[-60].item(), days[-1].item()
    wanted = np.ones(fields["close"].shape, dtype=bool)
    garch.garch_volatility(fields["close"], days, wanted, rules, first, last)


def features(settings: Settings) -> None:
    """Compile the loops of the features of the profile, and of their ranks and z-scores."""
    windows = catalogue.library(settings).windows
    days, fields = made_up(windows.total_lookback())
    windows.evaluate(fields, Windows(days))
    among = np.ones(fields["close"].shape, dtype=bool)
    rank(fields["close"], among)
    zscore(fields["close"], among)
