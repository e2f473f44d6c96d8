"""Graham's number: the highest price that a defensive investor pays for earnings and book value together."""

import numpy as np

from quant_assets.market.panel import FloatArray

#: Price over earnings of at most 15, times price over book of at most 1.5.
_PRODUCT = 22.5


def graham_number(earnings_per_share: FloatArray, book_per_share: FloatArray) -> FloatArray:
    r""":math:`\sqrt{22.5 \cdot EPS \cdot BVPS}`, in the currency of a share.

    Args:
        earnings_per_share: per year, shape (n_names,), NaN where not known.
        book_per_share: shape (n_names,), NaN where not known.

    Returns:
        Shape (n_names,); NaN where one of the two is not known or not positive.

    References:
        Graham (1973), The intelligent investor, 4th revised edition, chapter 14, the sixth and seventh criterion.

    """
    both = (earnings_per_share > 0.0) & (book_per_share > 0.0)
    product = np.where(both, _PRODUCT * earnings_per_share * book_per_share, np.nan)
    return np.sqrt(product)
