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


def fine_tuning_losses(forecast: Tensor, target: Tensor, there: Tensor, alpha: float) -> Tensor:
    """Of each date the squared error of its returns plus `alpha` times its `ranking_losses`; arguments likewise."""
    ranking = ranking_losses(forecast, target, there)
    squared = ((forecast.float() - target.float()) ** 2 * there[..., None]).mean(dim=2).sum(dim=1)
    return squared / there.sum(dim=1).clamp_min(1) + alpha * ranking


def ranking_losses(forecast: Tensor, target: Tensor, there: Tensor) -> Tensor:
    r"""Pairwise ranking loss of forecasts within each date, 0 where every pair has the order of its outcomes.

    Of a date with n names :math:`\frac{1}{n^2} \sum_{ij} \max(0, -(f_i - f_j)(y_i - y_j))`, the mean over the horizons;
    0 of a date with one name. Forecast differences stand against differences of the outcomes of the same pair.

    Args:
        forecast: returns of shape (n_dates, n_names, n_horizons), finite also where there is no name.
        target: known returns of the same shape, likewise.
        there: whether a date has so many names, bool of shape (n_dates, n_names).

    Returns:
        Shape (n_dates,).

    Raises:
        DatasetError: the shapes differ.

    """
    if forecast.ndim != 3 or forecast.shape != target.shape or there.shape != forecast.shape[:2]:
        raise DatasetError(
            f"forecasts of shape {tuple(forecast.shape)}, targets of {tuple(target.shape)} and names of "
            f"{tuple(there.shape)}: forecasts and targets are of the same shape (dates, names, horizons), and for each "
            "date and name it is said whether it is there"
        )
    said, was = forecast.float(), target.float()  # differences of halves have few digits
    pairs = there[:, :, None] & there[:, None]
    wrong = -(said[:, :, None] - said[:, None]) * (was[:, :, None] - was[:, None])
    of_pairs = wrong.clamp_min(0.0).mean(dim=3) * pairs
    return of_pairs.sum(dim=(1, 2)) / pairs.sum(dim=(1, 2)).clamp_min(1)


def masked(windows: Tensor, draws: Tensor, rate: float = MASK_RATE) -> Tensor:
    """The windows with a share of the days of each column set to 0, those with the lowest draws.

    Args:
        windows: shape (n, days, n_columns).
        draws: of the same shape.
        rate: share of the days, rounded to whole days.

    """
    count = round(windows.shape[1] * rate)
    return windows.scatter(1, draws.argsort(dim=1)[:, :count], 0.0)


def average_price(windows: Tensor) -> Tensor:
    """What `mask_avg_price` forecasts: mean close over the window, in the windows' own scale, shape (n,)."""
    return windows[:, :, _CLOSE].mean(dim=1)


def pretraining_losses(outputs: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Losses of each task: cross-entropy of the classifications, squared error of `mask_avg_price`.

    Args:
        outputs: as `TransformerStockPrediction.pretraining_outputs` gives them.
        labels: of each of these tasks: classes of shape (n,), int64, `UNKNOWN` where there is none; of
            `mask_avg_price` what `average_price` gives for the windows before values were hidden.

    Returns:
        Of each task one for each window, shape (n,), 0 where its class is not known.

    Raises:
        DatasetError: a task has no labels, or of another shape.

    """
    found = {}
    for name, output in outputs.items():
        if name not in labels or labels[name].shape != output.shape[:1]:
            raise DatasetError(f"pre-training task {name} needs one label for each of its {len(output)} windows")
        if name == "mask_avg_price":
            found[name] = mse_loss(output, labels[name], reduction="none")
        else:
            found[name] = cross_entropy(output, labels[name], ignore_index=UNKNOWN, reduction="none")
    return found


def pretraining_loss(
    outputs: Mapping[str, Tensor], labels: Mapping[str, Tensor], weights: Mapping[str, float | Tensor]
) -> Tensor:
    """Sum over the tasks of `pretraining_losses`, each times its weight; arguments, shape and errors as there.

    Args:
        outputs: likewise.
        labels: likewise.
        weights: of each task, or of each of its windows, shape (n,): with all windows / windows whose class is known,
            the mean over any units is one over those that are known.

    Raises:
        DatasetError: a task has no weight, or there is no task.

    """
    if lacking := sorted(outputs.keys() - weights.keys()):
        raise DatasetError(f"pre-training task {lacking[0]} has no weight; set it, or leave its head away")
    if not outputs:
        raise DatasetError("the network has no pre-training head; name its tasks in pretrain_classes")
    losses = pretraining_losses(outputs, labels)
    return torch.stack([weights[name] * losses[name] for name in outputs]).sum(dim=0)
