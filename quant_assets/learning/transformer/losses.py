"""Losses of the stock Transformer: returns and their order, and the pre-training tasks. No optimiser, no loop.

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

#: Class of a window with unknown stock or sector: it is ignored.
UNKNOWN = -1

#: Share of the days of each column that `masked` hides.
MASK_RATE = 0.3

_CLOSE = COLUMNS.index("close")


def fine_tuning_losses(forecast: Tensor, target: Tensor, there: Tensor, alpha: float) -> Tensor:
    """Squared error of the returns of each date plus `alpha` times `ranking_losses`; arguments as there."""
    ranking = ranking_losses(forecast, target, there)
    squared = ((forecast.float() - target.float()) ** 2 * there[..., None]).mean(dim=2).sum(dim=1)
    return squared / there.sum(dim=1).clamp_min(1) + alpha * ranking


def ranking_losses(forecast: Tensor, target: Tensor, there: Tensor) -> Tensor:
    r"""Pairwise ranking loss of forecasts within each date, 0 if all pairs are in the order of their outcomes.

    For a date with n names :math:`\frac{1}{n^2} \sum_{ij} \max(0, -(f_i - f_j)(y_i - y_j))`, averaged over horizons; 0
    for a date with one name.

    Args:
        forecast: returns of shape (n_dates, n_names, n_horizons), finite also in unused cells.
        target: known returns of the same shape, finite also in unused cells.
        there: mask of the used cells, bool of shape (n_dates, n_names).

    Returns:
        Shape (n_dates,).

    Raises:
        DatasetError: the shapes differ.

    """
    if forecast.ndim != 3 or forecast.shape != target.shape or there.shape != forecast.shape[:2]:
        raise DatasetError(
            f"forecasts of shape {tuple(forecast.shape)}, targets of {tuple(target.shape)} and names of "
            f"{tuple(there.shape)}: forecasts and targets must have the same shape (dates, names, horizons), and there "
            "the shape (dates, names)"
        )
    forecasts, targets = forecast.float(), target.float()  # half precision has too few digits for differences
    pairs = there[:, :, None] & there[:, None]
    wrong = -(forecasts[:, :, None] - forecasts[:, None]) * (targets[:, :, None] - targets[:, None])
    pair_losses = wrong.clamp_min(0.0).mean(dim=3) * pairs
    return pair_losses.sum(dim=(1, 2)) / pairs.sum(dim=(1, 2)).clamp_min(1)


def masked(windows: Tensor, draws: Tensor, rate: float = MASK_RATE) -> Tensor:
    """The windows with a share of the days of each column, those with the lowest draws, set to 0.

    Args:
        windows: shape (n, days, n_columns).
        draws: random numbers of the same shape.
        rate: share of the days, rounded to whole days.

    """
    count = round(windows.shape[1] * rate)
    return windows.scatter(1, draws.argsort(dim=1)[:, :count], 0.0)


def average_price(windows: Tensor) -> Tensor:
    """Target of `mask_avg_price`: mean close over the window, in the window's scale, shape (n,)."""
    return windows[:, :, _CLOSE].mean(dim=1)


def pretraining_losses(outputs: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Losses of each task: cross-entropy of the classifications, squared error of `mask_avg_price`.

    Args:
        outputs: result of `TransformerStockPrediction.pretraining_outputs`.
        labels: by task: classes of shape (n,), int64, `UNKNOWN` without one; for `mask_avg_price` the `average_price`
            of the windows before masking.

    Returns:
        By task the losses of the windows, shape (n,), 0 where the class is unknown.

    Raises:
        DatasetError: a task has no labels, or labels of another shape.

    """
    losses = {}
    for name, output in outputs.items():
        if name not in labels or labels[name].shape != output.shape[:1]:
            raise DatasetError(f"pre-training task {name} needs one label for each of its {len(output)} windows")
        if name == "mask_avg_price":
            losses[name] = mse_loss(output, labels[name], reduction="none")
        else:
            losses[name] = cross_entropy(output, labels[name], ignore_index=UNKNOWN, reduction="none")
    return losses


def pretraining_loss(
    outputs: Mapping[str, Tensor], labels: Mapping[str, Tensor], weights: Mapping[str, float | Tensor]
) -> Tensor:
    """Weighted sum over the tasks of `pretraining_losses`; shape as there.

    Args:
        outputs: as in `pretraining_losses`.
        labels: as in `pretraining_losses`.
        weights: by task, one number or one for each window, shape (n,) (see `training.Windows.batch`).

    Raises:
        DatasetError: a task has no weight, or there is no task.

    """
    if unweighted := sorted(outputs.keys() - weights.keys()):
        raise DatasetError(f"pre-training task {unweighted[0]} has no weight; set one, or remove its head")
    if not outputs:
        raise DatasetError("the network has no pre-training head; name its tasks in pretrain_classes")
    losses = pretraining_losses(outputs, labels)
    return torch.stack([weights[name] * losses[name] for name in outputs]).sum(dim=0)
