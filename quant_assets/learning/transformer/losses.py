"""What the stock Transformer is fitted to: returns and their order, and the pre-training tasks. No optimiser, no loop.

References:
    Feng et al. (2019), Temporal Relational Ranking for Stock Prediction, ACM TOIS 37(2), equation 4.
    Wang et al. (2025), Pre-training Time Series Models with Stock Data Customization, KDD, section 4.

"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from quant_assets.errors import DatasetError
from quant_assets.learning.transformer.inputs import COLUMNS

#: Class of a window whose code or sector is not known: it does not count.
UNKNOWN = -1

#: Share of the days of each column that `masked` hides.
MASK_RATE = 0.3

_CLOSE = COLUMNS.index("close")


def fine_tuning_loss(forecast: Tensor, target: Tensor, groups: Tensor, alpha: float) -> Tensor:
    """Mean squared error of the returns plus `alpha` times `ranking_loss`; arguments as there."""
    _same(forecast, target, groups)
    return mse_loss(forecast, target) + alpha * ranking_loss(forecast, target, groups)


def ranking_loss(forecast: Tensor, target: Tensor, groups: Tensor) -> Tensor:
    r"""Pairwise ranking loss of forecasts within each date, 0 where every pair has the order of its outcomes.

    Of a date with n names :math:`\frac{1}{n^2} \sum_{ij} \max(0, -(f_i - f_j)(y_i - y_j))`, the mean over the dates
    that have two names or more. Forecast differences stand against differences of the outcomes of the same pair.

    Args:
        forecast: returns of shape (n,) or (n, n_horizons).
        target: known returns of the same shape.
        groups: integers of shape (n,) that tell the dates apart; only names of one date are compared.

    Raises:
        DatasetError: the shapes differ.

    """
    _same(forecast, target, groups)
    order = torch.argsort(groups, stable=True)
    counts = torch.unique_consecutive(groups[order], return_counts=True)[1].tolist()
    losses = []
    for places in torch.split(order, counts):
        if len(places) > 1:
            said, was = forecast[places].float(), target[places].float()  # differences of halves have few digits
            wrong = -(said[:, None] - said[None]) * (was[:, None] - was[None])
            losses.append(wrong.clamp_min(0.0).mean())
    return torch.stack(losses).mean() if losses else forecast.sum() * 0.0


def masked(windows: Tensor, generator: torch.Generator, rate: float = MASK_RATE) -> Tensor:
    """The windows with a share of the days of each column set to 0, drawn anew for each window and column.

    Args:
        windows: shape (n, days, n_columns).
        generator: of the draws, on the device of the windows.
        rate: share of the days, rounded to whole days.

    """
    draws = torch.rand(windows.shape, generator=generator, device=windows.device)
    count = round(windows.shape[1] * rate)
    return windows.scatter(1, draws.argsort(dim=1)[:, :count], 0.0)


def average_price(windows: Tensor) -> Tensor:
    """What `mask_avg_price` forecasts: mean close over the window, in the windows' own scale, shape (n,)."""
    return windows[:, :, _CLOSE].mean(dim=1)


def pretraining_losses(outputs: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Loss of each task: cross-entropy of the classifications, mean squared error of `mask_avg_price`.

    Args:
        outputs: as `TransformerStockPrediction.pretraining_outputs` gives them.
        labels: of each of these tasks: classes of shape (n,), int64, `UNKNOWN` where there is none; of
            `mask_avg_price` what `average_price` gives for the windows before values were hidden.

    Raises:
        DatasetError: a task has no labels, or of another shape.

    """
    found = {}
    for name, output in outputs.items():
        if name not in labels or labels[name].shape != output.shape[:1]:
            raise DatasetError(f"pre-training task {name} needs one label for each of its {len(output)} windows")
        if name == "mask_avg_price":
            found[name] = mse_loss(output, labels[name])
        else:  # the mean over no window would be no number
            known = (labels[name] != UNKNOWN).sum().clamp_min(1)
            found[name] = cross_entropy(output, labels[name], ignore_index=UNKNOWN, reduction="sum") / known
    return found


def pretraining_loss(
    outputs: Mapping[str, Tensor], labels: Mapping[str, Tensor], weights: Mapping[str, float]
) -> Tensor:
    """Sum of `pretraining_losses`, each times the weight of its task; arguments and errors as there.

    Raises:
        DatasetError: a task has no weight, or there is no task.

    """
    if lacking := sorted(outputs.keys() - weights.keys()):
        raise DatasetError(f"pre-training task {lacking[0]} has no weight; set it, or leave its head away")
    if not outputs:
        raise DatasetError("the network has no pre-training head; name its tasks in pretrain_classes")
    losses = pretraining_losses(outputs, labels)
    return torch.stack([weights[name] * losses[name] for name in outputs]).sum()


def _same(forecast: Tensor, target: Tensor, groups: Tensor) -> None:
    if forecast.shape != target.shape or groups.shape != forecast.shape[:1]:
        raise DatasetError(
            f"forecasts of shape {tuple(forecast.shape)}, targets of {tuple(target.shape)} and groups of "
            f"{tuple(groups.shape)}: the first two must have the same shape, groups a value for each row"
        )
