"""The compiled loop over pairs of rows. What the distances mean is in `learning.drift`."""

import numpy as np

from quant_assets.market.panel import FloatArray
from quant_assets.windows.compiled import kernel


@kernel
def nearest_and_total(
    rows: FloatArray, others: FloatArray, own: FloatArray, their: FloatArray, total: bool
) -> tuple[FloatArray, FloatArray]:
    """Distance of each row to the nearest of the others, and the sum of its distances to all of them.

    The innermost loop goes over the others, so that it is vector code and each sum is taken feature by feature: a row's
    bytes depend on no other row, which a matrix product does not promise.

    Args:
        rows: shape (n_rows, n_features), without missing values.
        others: shape (n_features, n_others), likewise.
        own: what is added to every squared distance of a row, shape (n_rows,).
        their: of one of the others, shape (n_others,).
        total: whether the sums are asked for; else they are 0.

    """
    count, many = len(rows), others.shape[1]
    nearest, sums, squared = np.empty(count), np.zeros(count), np.empty(many)
    for i in range(count):
        for j in range(many):
            squared[j] = their[j]
        for k in range(others.shape[0]):
            value = rows[i, k]
            for j in range(many):
                apart = value - others[k, j]
                squared[j] += apart * apart
        least = np.inf
        for j in range(many):
            if squared[j] < least:
                least = squared[j]
        nearest[i] = np.sqrt(least + own[i])
        if total:
            for j in range(many):
                sums[i] += np.sqrt(squared[j] + own[i])
    return nearest, sums
