"""The compiled loop over pairs of rows, for the distances of `learning.reference`."""

import numpy as np

from quant_assets.market.panel import FloatArray
from quant_assets.windows.compiled import kernel

#: Features per step of the unrolled loop; the caller pads with features that are 0 everywhere.
FEATURES_PER_STEP = 4


@kernel
def nearest_and_total(
    rows: FloatArray, others: FloatArray, row_terms: FloatArray, other_terms: FloatArray, with_sums: bool
) -> tuple[FloatArray, FloatArray]:
    """Euclidean distance of each row to the nearest of the others, and the sum of its distances to all of them.

    The innermost loop goes over the others, so that it is vectorised, and sums run over the features in order: unlike a
    matrix product, a row's bytes do not depend on the other rows. 32 bits take half of the time of 64, and four
    features at once two thirds of the time of one.

    Args:
        rows: float32 of shape (n_rows, n_features), without missing values.
        others: float32 of shape (n_features, n_others), without missing values, n_others > 0.
        row_terms: float32 of shape (n_rows,), added to the squared distances of each row: its missing values.
        other_terms: float32 of shape (n_others,), the same for the others.
        with_sums: compute the sums; else they are 0.

    Returns:
        Nearest distances and sums, float64 of shape (n_rows,) each.

    """
    n_rows, n_others = len(rows), others.shape[1]
    nearest, sums, squared = np.empty(n_rows), np.zeros(n_rows), np.empty_like(other_terms)
    for i in range(n_rows):
        for j in range(n_others):
            squared[j] = other_terms[j]
        for k in range(0, others.shape[0], FEATURES_PER_STEP):
            a, b, c, d = rows[i, k], rows[i, k + 1], rows[i, k + 2], rows[i, k + 3]
            for j in range(n_others):
                p, q, r, s = a - others[k, j], b - others[k + 1, j], c - others[k + 2, j], d - others[k + 3, j]
                squared[j] += (p * p + q * q) + (r * r + s * s)
        least = squared[0]
        for j in range(n_others):
            if squared[j] < least:
                least = squared[j]
        nearest[i] = np.sqrt(least + row_terms[i])
        if with_sums:
            for j in range(n_others):
                sums[i] += np.sqrt(squared[j] + row_terms[i])
    return nearest, sums
