"""Every registered kind of model, the test's own among them, and made-up rows that each of them can learn from."""

from typing import Any

import numpy as np

from quant_assets.learning.models import kinds, learner_type
from quant_assets.learning.models.base import Learner, Task
from quant_assets.learning.rows import Rows

#: The test's own, as the settings name it.
OWN = "quant_assets_tests.learning.ridge:Ridge"

#: What is made elsewhere is tested in test_external.py, what reads windows of bars in test_transformer_kind.py.
LEARNERS: dict[str, type[Learner[Any]]] = {
    name: found
    for name in (*kinds(), OWN)
    for found in (learner_type(name),)
    if found.learns and not found("any").bar_sessions
}


#: Every kind with each of the tasks that it does.
TASKS = [(name, task) for name, learner in LEARNERS.items() for task in learner.tasks]


def made_up_rows(
    count: int = 3_000, horizons: tuple[int, ...] = (5, 20), seed: int = 1, task: Task = "regression"
) -> Rows:
    """Rows of four features: one carries the targets, one does by being missing, one is noise, one is never there."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(count, 4))
    missing = rng.random(count) < 0.5
    matrix[missing, 1], matrix[rng.random(count) < 0.1, 2], matrix[:, 3] = np.nan, np.nan, np.nan
    signal = 0.02 * matrix[:, 0] + 0.02 * missing
    targets = signal[:, None] + 0.01 * rng.normal(size=(count, len(horizons)))
    days = np.datetime64("2020-01-01") + np.arange(count) // 20
    tickers = np.array([f"T{number % 20:02d}" for number in range(count)], dtype=object)
    features = ("carries", "by_absence", "noise", "never")
    if task == "regression":
        return Rows(features, tickers, days, matrix, horizons, targets)
    return Rows(features, tickers, days, matrix, horizons, (targets > 0).astype(float), targets)
