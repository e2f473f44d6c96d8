"""The compiled loop over pairs of rows. What the distances mean is in `learning.drift`."""

import numpy as np

from quant_assets.market.panel import FloatArray
from quant_assets.windows.compiled import kernel

#: Features are taken so many at a time; whoever calls fills up with features that are 0 everywhere.
AT_ONCE = 4


@kernel
def nearest_and_total(
    rows: FloatArray, others: FloatArray, own: FloatArray, their: FloatArray, total: bool
) -> tuple[FloatArray, FloatArray]:
    """Distance of each row to the nearest of the others, and the sum of its distances to all of them.

    The innermost loop goes over the others, so that it is vector code, and each sum is taken over the features in their
    order: a row's bytes depend on no other row, which a matrix product does not promise. 32 bits take half of the time
    of 64, and four features at once two thirds of that of one.

    Args:
        rows: float32 of shape (n_rows, n_features), without missing values.
        others: float32 of shape (n_features, n_others), at least one of them; likewise.
        own: what is added to every squared distance of a row, shape (n_rows,).
        their: of one of the others, shape (n_others,).
        total: whether the sums are asked for; else they are 0.

    """
    count, many = len(rows), others.shape[1]
    nearest, sums, squared = np.empty(count), np.zeros(count), np.empty_like(their)
    for i in range(count):
        for j in range(many):
            squared[j] = their[j]
        for k in range(0, others.shape[0], AT_ONCE):
            a, b, c, d = rows[i, k], rows[i, k + 1], rows[i, k + 2], rows[i, k + 3]
            for j in range(many):
                p, q, r, s = a - others[k, j], b - others[k + 1, j], c - others[k + 2, j], d - others[k + 3, j]
                squared[j] += (p * p + q * q) + (r * r + s * s)
        least = squared[0]
        for j in range(many):
            if squared[j] < least:
                least = squared[j]
        nearest[i] = np.sqrt(least + own[i])
        if total:
            for j in range(many):
                sums[i] += np.sqrt(squared[j] + own[i])
    return nearest, sums
