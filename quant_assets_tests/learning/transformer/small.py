"""Both trainings of a tiny stock Transformer, as a script for several processes: `python -m …small RESULT`."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from quant_assets.learning.deep.fit import Fitted
from quant_assets.learning.deep.training_context import training_at
from quant_assets.learning.transformer.parameters import Parameters
from quant_assets.learning.transformer.training import Sessions, Windows, fine_tune, pre_train
from quant_assets.learning.transformer.windows import WindowTensor
from quant_assets_tests.learning.transformer.panels import random_panel

NAMES, DAYS = 7, 8
TOLD: dict[str, Any] = {
    "hidden_size": 8,
    "num_heads": 2,
    "days": DAYS,
    "maximum_sessions": 40,
    "dropout": 0.0,
    "max_epochs": 2,
    "batch_units": 4,
    "learning_rate": 0.01,
}


def parts(sessions: tuple[int, int]) -> tuple[WindowTensor, Any]:
    """The tensor, and the positions of the windows that end from one session to another."""
    panel = random_panel(NAMES, 120)
    first, last = (panel.sessions[at].item() for at in sessions)
    tensor = WindowTensor.of(panel, maximum_sessions=40, days=DAYS)
    return tensor, tensor.between(first, last)


def pre_trained(**given: Any) -> Fitted[Any]:
    """By all tasks; the codes and sectors of some names are not known."""
    parameters = Parameters.model_validate(TOLD | {"pretraining": {"max_epochs": 2, "batch_units": 16}} | given)
    heads = {"stock": NAMES, "sector": 2, "mask_avg_price": 1}
    architecture = parameters.architecture(1).model_copy(update={"pretrain_classes": heads})
    names = np.arange(NAMES)
    stocks, sectors = np.where(names < 3, names, -1), np.where(names != 5, names % 2, -1)
    fed, held = (Windows(*parts(each), stocks, sectors) for each in ((50, 90), (100, 119)))
    return pre_train(fed, held, parameters, architecture, 1, "small")


def fine_tuned(**given: Any) -> Fitted[Any]:
    """Of sessions with fewer and fewer names, the last with one."""
    parameters = Parameters.model_validate(TOLD | given)
    units = []
    for each in ((50, 90), (100, 119)):
        tensor, positions = parts(each)
        positions = positions[tensor.ticker_of(positions) <= each[1] - tensor.session_of(positions)]
        days = tensor.panel.sessions[tensor.session_of(positions).numpy()].astype("datetime64[D]")
        targets = np.random.default_rng(5).normal(size=(len(positions), 2))
        units.append(Sessions(tensor, positions, days, targets))
    return fine_tune(*units, parameters, parameters.architecture(2), 1.0, None, 1, "small")


def results(folder: Path, **given: Any) -> dict[str, np.ndarray]:
    """Losses and weights of both; the folder is that of all processes."""
    with training_at(folder, lambda _: None):
        found = {"pre": pre_trained(**given), "fine": fine_tuned(**given)}
    told: dict[str, np.ndarray] = {}
    for name, fitted in found.items():
        told[f"{name}.history"] = np.array([[each.training, each.validation] for each in fitted.history])
        told |= {f"{name}.{at}": each.numpy() for at, each in fitted.module.state_dict().items()}
    return told


if __name__ == "__main__":
    np.savez(f"{sys.argv[1]}-{os.environ['RANK']}.npz", **results(Path(f"{sys.argv[1]}-states")))
