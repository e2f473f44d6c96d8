"""The pre-training of the stock Transformer on a whole market: windows, classes and result.

It reads no labels, and nothing later than the session of the training.

References:
    Wang et al. (2025), Pre-training Time Series Models with Stock Data Customization, KDD, section 4.

"""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from quant_assets.learning.bars import Bars
from quant_assets.learning.model_files import sha256
from quant_assets.learning.training import training_start
from quant_assets.learning.transformer.parameters import Parameters
from quant_assets.learning.transformer.published import Manifest
from quant_assets.learning.transformer.training import Windows, pre_train
from quant_assets.learning.transformer.windows import WindowTensor
from quant_assets.market.calendar import session_number
from quant_assets.market.panel import BoolArray

#: Share of the sessions, the last ones, for early stopping.
_HELD = 0.2

#: Least number of training windows.
_FEWEST = 100


@dataclass(frozen=True)
class Pretraining:
    """The result of a pre-training.

    Attributes:
        content: the state dict as torch saves it; None with too little history.
        manifest: its manifest; None with too little history.
        facts: columns of dataset `transformer_pretrained` on the training.

    """

    content: bytes | None
    manifest: Manifest | None
    facts: Mapping[str, Any]


def pretrained(prices: pl.DataFrame, as_of: date, parameters: Parameters, seed: int, said: str) -> Pretraining:
    """Pre-train an encoder on the windows of bars up to a session.

    The windows of the last fifth of the sessions serve early stopping; `days` sessions separate them from the training
    windows, so that they share no bar. A name's class is its index among the names; its sector is that of its last bar.

    Args:
        prices: dataset prices of all sectors, with column `sector`, from the start of the first window.
        as_of: session of the training.
        parameters: parameters of the model.
        seed: seed of the settings.
        said: name of the model, for progress messages.

    """
    settings, first = parameters.pretraining, training_start(as_of, parameters.pretraining.window_months)
    own = prices.filter(pl.col("in_sector"), pl.col("date") <= as_of)
    panel = Bars.between(own.drop("sector"), first, as_of, parameters.bar_sessions).panel
    tensor = WindowTensor.of(
        panel,
        maximum_sessions=parameters.maximum_sessions,
        days=parameters.days,
        unexplained=panel["unexplained"] == 1.0,
    ).for_training()
    positions = tensor.between(first, as_of)
    train, stop = _split(panel.sessions, tensor.session_of(positions), settings.sample_every_sessions, parameters.days)
    names = torch.unique(tensor.ticker_of(positions[train]))
    stocks = np.full(len(panel.tickers), -1, dtype=np.int64)
    stocks[names.numpy()] = np.arange(len(names))
    sectors, count = _sectors(own, panel.tickers)
    sectors = np.where(stocks >= 0, sectors, -1)
    days = (
        panel.sessions[tensor.session_of(positions[train | stop]).numpy()] if bool(stop.any()) else panel.sessions[:0]
    )
    facts: dict[str, Any] = {
        "windows": int(train.sum()),
        "tickers": len(names),
        "sectors": count,
        "first_date": days.min().item() if len(days) else None,
        "last_date": days.max().item() if len(days) else None,
        "epochs": None,
        "validation_loss": None,
    }
    if facts["windows"] < _FEWEST or not bool(stop.any()):
        return Pretraining(None, None, facts)
    classes = {"stock": len(names), "sector": count, "mask_avg_price": 1}
    heads = {name: classes[name] for name, weight in settings.weights.items() if weight > 0}
    architecture = parameters.architecture(1).model_copy(update={"pretrain_classes": heads})
    training, later = (Windows(tensor, positions[mask], stocks, sectors) for mask in (train, stop))
    drawn = int.from_bytes(hashlib.sha256(f"{seed}|market|{as_of}|{said}".encode()).digest()[:4], "big") & 0x7FFFFFFF
    fitted = pre_train(training, later, parameters, architecture, drawn, f"{said}, pre-training")
    buffer = io.BytesIO()
    torch.save({name: values.contiguous() for name, values in fitted.module.network.state_dict().items()}, buffer)
    content = buffer.getvalue()
    manifest = Manifest(
        stage="encoder",
        # The first session of the maxima and means of the first window.
        trained_from=panel.sessions[0].item(),
        trained_through=as_of,
        normalisation=tensor.normalisation,
        architecture=architecture,
        sha256=sha256(content),
    )
    loss = fitted.history[fitted.best].validation
    return Pretraining(content, manifest, facts | {"epochs": len(fitted.history), "validation_loss": loss})


def _split(sessions: Any, last_sessions: Tensor, every: int, days: int) -> tuple[Tensor, Tensor]:
    """Masks of the training and early-stopping windows, by the number of their last session."""
    if not len(last_sessions):
        return torch.zeros(0, dtype=torch.bool), torch.zeros(0, dtype=torch.bool)
    sampled: BoolArray = session_number(sessions) % every == 0
    ends = torch.unique(last_sessions)
    begin = int(ends[int(len(ends) * (1 - _HELD))])
    chosen = torch.from_numpy(sampled)[last_sessions]
    return chosen & (last_sessions < begin - days + 1), chosen & (last_sessions >= begin)


def _sectors(prices: pl.DataFrame, tickers: tuple[str, ...]) -> tuple[Any, int]:
    """Class of each name by the sector of its last bar, and the number of classes."""
    last = prices.sort("date").group_by("ticker").agg(pl.col("sector").last())
    classes = {sector: number for number, sector in enumerate(sorted(last["sector"].unique()))}
    sector_of: dict[str, str] = dict(last.select("ticker", "sector").iter_rows())
    return np.array([classes[sector_of[name]] for name in tickers], dtype=np.int64), len(classes)
