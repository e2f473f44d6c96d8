"""The models of the NASDAQ benchmark: each is fitted on the training part, stopped by the validation part, and tested.

All use the same windows. Networks are fitted by the product's own training (`quant_assets.learning.deep`).
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.stock_market import Market, Part
from benchmarks.stock_options import Options
from quant_assets.learning.deep.fit import Fitted, fit
from quant_assets.learning.deep.module import DeepModule
from quant_assets.learning.deep.settings import DeepParameters
from quant_assets.learning.deep.units import Indices
from quant_assets.learning.transformer.inputs import COLUMNS
from quant_assets.learning.transformer.losses import average_price, fine_tuning_losses, masked, pretraining_loss
from quant_assets.learning.transformer.network import TransformerStockPrediction
from quant_assets.learning.transformer.windows import WindowTensor
from quant_assets.market.panel import FloatArray

#: Sessions before the last one whose columns are inputs of the linear model and the trees.
LAGS = (0, 1, 2, 5, 10, 20, 31)

#: Windows per step of prediction.
BATCH = 2048

#: Training rows of the trees, drawn for each seed.
TREE_ROWS = 150_000

#: Penalties of the linear model; the validation part chooses one.
PENALTIES = (1e2, 1e3, 1e4, 1e5, 1e6)

_CLOSE = [place for place, name in enumerate(COLUMNS) if name.startswith("close")]


class RankLstm(nn.Module):
    """Rank-LSTM of Feng et al.: an LSTM of 64 units over the close's columns of 16 sessions, and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(len(_CLOSE), 64, batch_first=True)
        self.fc = nn.Linear(64, 1)

    def forward(self, windows: Tensor) -> Tensor:
        """Shape (n, 32, 25) to (n, 1)."""
        forecast: Tensor = self.fc(self.lstm(windows[:, -16:, _CLOSE])[0][:, -1])
        return forecast


class Dates:
    """Units for the product's training: a date with its windows and targets."""

    def __init__(self, part: Part, scale: float) -> None:
        self.positions = part.positions
        self.targets = torch.from_numpy((part.outcomes / scale).astype(np.float32))

    def __len__(self) -> int:
        return len(self.positions)

    def batch(self, indices: Indices) -> tuple[Tensor, Tensor]:
        """Positions and targets of some dates."""
        return self.positions[indices], self.targets[indices]


class Ranking(DeepModule):
    """A network fitted to returns and their order on each date."""

    def __init__(self, network: nn.Module, tensor: WindowTensor, options: Options) -> None:
        super().__init__()
        self.network, self.tensor, self.options = network, tensor, options

    def losses(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """One loss per date."""
        positions, targets = _drawn(*batch, self.options.names)
        forecasts = self.network(self.tensor.gather(positions.ravel()))[:, 0].view_as(positions)
        present = torch.ones(positions.shape, dtype=torch.bool)
        return fine_tuning_losses(forecasts[..., None], targets[..., None], present, self.options.alpha)


class Pretraining(DeepModule):
    """A network fitted to identify stocks and to fill in masked values."""

    def __init__(self, network: TransformerStockPrediction, tensor: WindowTensor, options: Options) -> None:
        super().__init__()
        self.network, self.tensor, self.options = network, tensor, options

    def losses(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """One loss per date, the mean over its names."""
        positions = _drawn(*batch, self.options.names)[0].ravel()
        windows = self.tensor.gather(positions)
        labels, weights, hidden = {"stock": self.tensor.ticker_of(positions)}, {"stock": 1.0}, None
        if self.options.mask_weight:
            labels |= {"mask_avg_price": average_price(windows)}
            weights |= {"mask_avg_price": self.options.mask_weight}
            hidden = masked(windows, torch.rand(windows.shape))
        outputs = self.network.pretraining_outputs(windows, hidden)
        return pretraining_loss(outputs, labels, weights).view(len(batch[0]), -1).mean(dim=1)


def _drawn(positions: Tensor, targets: Tensor, names: int) -> tuple[Tensor, Tensor]:
    """A number of names of each date, drawn at random; all of them if there are no more."""
    if positions.shape[1] <= names:
        return positions, targets
    at = torch.rand(positions.shape).masked_fill(positions < 0, -1.0).topk(names, dim=1).indices
    return positions.gather(1, at), targets.gather(1, at)


@dataclass(frozen=True)
class Run:
    """One model with one seed.

    Attributes:
        market: data of the fit.
        seed: seed of every draw.
        folder: checkpoints of the networks' trainings.
        options: settings of the fit.

    """

    market: Market
    seed: int
    folder: Path
    options: Options

    def network(self, kind: str, build: Callable[[], nn.Module]) -> tuple[FloatArray, dict[str, float]]:
        """Fit a network and forecast the test part."""
        training = self.market.training
        scale = float(np.nanstd(training.outcomes))
        result = self.fitted(
            kind, lambda: Ranking(build(), self.market.tensor, self.options), self.options.epochs, scale
        )
        forecasts = self.asked(result.module.network) * scale
        return forecasts, {f"loss_{i + 1}": epoch.validation for i, epoch in enumerate(result.history)}

    def fitted(self, kind: str, build: Callable[[], DeepModule], epochs: int, scale: float) -> Fitted[DeepModule]:
        """Fit by the product's training; an interrupted training resumes."""
        options = self.options
        parameters = DeepParameters(
            max_epochs=epochs,
            patience=options.patience,
            batch_units=options.dates_in_step,
            learning_rate=options.learning_rate,
            precision="float32",
            num_threads=options.threads,
        )
        sample = self.market.validation.some(options.validation_names, seed=0)
        folder = self.folder / f"{kind}-{self.seed}"
        folder.mkdir(parents=True, exist_ok=True)
        training, validation = Dates(self.market.training, scale), Dates(sample, scale)
        return fit(build, training, validation, parameters, self.seed, folder, f"{kind}, seed {self.seed}")

    def asked(self, network: nn.Module) -> FloatArray:
        """Forecasts of the test part."""
        positions = self.market.test.rows()[0]
        with torch.inference_mode():
            parts = [network(self.market.tensor.gather(batch))[:, 0] for batch in positions.split(BATCH)]
        return torch.cat(parts).double().numpy()


def linear(run: Run) -> tuple[FloatArray, dict[str, float]]:
    """Ridge regression on the columns of a few sessions of every fourth date; without random draws."""
    market = run.market
    training = Part(market.training.positions[::4], market.training.outcomes[::4], market.training.dates[::4])
    x, y = _table(market.tensor, training)
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-9
    x = (x - mean) / deviation
    gram, cross, level = x.T @ x, x.T @ (y - y.mean()), y.mean()
    inputs, truth = _table(market.tensor, market.validation)
    inputs = (inputs - mean) / deviation
    errors = {}
    for penalty in PENALTIES:
        weights = np.linalg.solve(gram + penalty * np.eye(len(gram)), cross)
        errors[penalty] = (float(((inputs @ weights + level - truth) ** 2).mean()), weights)
    penalty = min(errors, key=lambda value: errors[value][0])
    test = (_table(market.tensor, market.test)[0] - mean) / deviation
    return test @ errors[penalty][1] + level, {"penalty": penalty}


def trees(run: Run) -> tuple[FloatArray, dict[str, float]]:
    """LightGBM on the same columns, on rows drawn by the seed."""
    import lightgbm

    market = run.market
    x, y = _table(market.tensor, market.training, TREE_ROWS, run.seed)
    inputs, truth = _table(market.tensor, market.validation, TREE_ROWS, run.seed)
    parameters = {
        "objective": "regression",
        "learning_rate": 0.03,
        "num_leaves": 31,
        "min_data_in_leaf": 200,
        "feature_fraction": 0.5,
        "seed": run.seed,
        "deterministic": True,
        "num_threads": run.options.threads,
        "verbose": -1,
    }
    data = lightgbm.Dataset(x, y)
    stop = lightgbm.early_stopping(30, verbose=False)
    held_out = lightgbm.Dataset(inputs, truth, reference=data)
    grown = lightgbm.train(parameters, data, 400, valid_sets=[held_out], callbacks=[stop])
    forecasts = grown.predict(_table(market.tensor, market.test)[0])
    return np.asarray(forecasts, dtype=np.float64), {"trees": grown.best_iteration}


def rank_lstm(run: Run) -> tuple[FloatArray, dict[str, float]]:
    """The baseline of both papers, with the corrected loss."""
    return run.network("rank_lstm", RankLstm)


def transformer(run: Run) -> tuple[FloatArray, dict[str, float]]:
    """From random weights."""
    return run.network("transformer", lambda: TransformerStockPrediction(hidden_size=run.options.hidden_size))


def transformer_pretrained(run: Run) -> tuple[FloatArray, dict[str, float]]:
    """Pre-trained on the training part, then fitted with a frozen embedding, as published."""
    classes = {"stock": len(run.market.tensor.panel.tickers)}
    if run.options.mask_weight:
        classes["mask_avg_price"] = 1

    def pretraining() -> DeepModule:
        network = TransformerStockPrediction(hidden_size=run.options.hidden_size, pretrain_classes=classes)
        return Pretraining(network, run.market.tensor, run.options)

    result = run.fitted("pretraining", pretraining, run.options.pretraining_epochs, 1.0)
    encoder = result.module.network

    def build() -> nn.Module:
        network = copy.deepcopy(encoder).train()
        network.fc.reset_parameters()
        network.pretrain_outlayers.clear()
        network.feature_extractor.embedding.requires_grad_(False)
        return network

    forecasts, notes = run.network("transformer_pretrained", build)
    return forecasts, notes | {"pretraining_loss": result.history[result.best].validation}


#: `stock_options.MODELS` by their names.
FITS: dict[str, Callable[[Run], tuple[FloatArray, dict[str, float]]]] = {
    "linear": linear,
    "lightgbm": trees,
    "rank_lstm": rank_lstm,
    "transformer": transformer,
    "transformer_pretrained": transformer_pretrained,
}


def _table(tensor: WindowTensor, part: Part, rows: int | None = None, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """Columns of `LAGS` of all windows of a part, or of a random sample of them, and their outcomes."""
    positions, outcomes = part.rows()
    if rows is not None and rows < len(positions):
        sample = np.sort(np.random.default_rng(seed).choice(len(positions), rows, replace=False))
        positions, outcomes = positions[torch.from_numpy(sample)], outcomes[sample]
    days = [tensor.days - 1 - lag for lag in LAGS]
    columns = np.empty((len(positions), len(LAGS) * len(COLUMNS)), dtype=np.float32)
    for start in range(0, len(positions), BATCH):
        columns[start : start + BATCH] = tensor.gather(positions[start : start + BATCH])[:, days].flatten(1).numpy()
    return columns, outcomes
