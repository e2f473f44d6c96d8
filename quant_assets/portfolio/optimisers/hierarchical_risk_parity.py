"""Hierarchical risk parity: orders names by similarity and splits capital between halves by inverse variance.

There are two conventions, which differ in the order of the names:

- `paper`: distance d = sqrt((1 - correlation) / 2); names are clustered by single linkage over the Euclidean distance
  between the *columns* of d, a distance of distances, as the paper's code does; leaves in the order of the merges.
- `skfolio`: d itself, Ward linkage, and the leaf order that puts neighbours nearest (Bar-Joseph et al. 2001), which is
  what skfolio does by default. PyPortfolioOpt takes d itself too, with single linkage.

Both split the ordered names in the middle, and weight each half by the inverse of its variance under inverse-variance
weights. In both, the order of two names or halves depends on the order of the input; names are therefore sorted by
variance first, so that the weights do not depend on the labels.

References:
    López de Prado (2016), Building diversified portfolios that outperform out of sample, Journal of Portfolio
        Management 42(4).
    Bar-Joseph, Gifford, Jaakkola (2001), Fast optimal leaf ordering for hierarchical clustering.

"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from quant_assets.market.panel import FloatArray, IntArray
from quant_assets.portfolio.constraints import Constraints
from quant_assets.portfolio.fitting import fitted
from quant_assets.portfolio.optimisers.base import Outlook, side_by_side, sound
from quant_assets.windows.compiled import kernel


@dataclass(frozen=True)
class HierarchicalRiskParity:
    """Each side is weighted by itself; the limits are met after the last split."""

    distance: Literal["paper", "skfolio"] = "paper"
    needs_covariance: bool = True

    def weights(
        self, covariance: FloatArray, outlook: Outlook, constraints: Constraints, previous: FloatArray
    ) -> FloatArray:
        """See `Optimiser`; the outlook is not used."""
        constraints = constraints.feasible()
        sizes = side_by_side(constraints, sound(covariance), lambda part: hierarchical_weights(part, self.distance))
        return fitted(sizes, constraints)


def hierarchical_weights(covariance: FloatArray, distance: Literal["paper", "skfolio"] = "paper") -> FloatArray:
    """Weights by recursive bisection: positive, summing to 1.

    Args:
        covariance: float64 of shape (n_names, n_names) with a positive diagonal.
        distance: the convention.

    """
    if len(covariance) == 1:
        return np.ones(1)
    rising = np.argsort(np.diag(covariance), kind="stable")
    ordered = np.ascontiguousarray(covariance[np.ix_(rising, rising)])
    distances = correlation_distance(ordered)
    order = single_linkage_order(columns_distance(distances)) if distance == "paper" else _skfolio_order(distances)
    result = np.empty(len(rising))
    result[rising] = bisected(ordered, order)
    return result


def correlation_distance(covariance: FloatArray) -> FloatArray:
    """Sqrt((1 - correlation) / 2), in [0, 1]: float64 of shape (n_names, n_names) with a diagonal of 0."""
    deviations = np.sqrt(np.diag(covariance))
    distances = np.sqrt(np.clip((1.0 - covariance / np.outer(deviations, deviations)) / 2.0, 0.0, 1.0))
    np.fill_diagonal(distances, 0.0)
    return np.asarray(distances)


def _skfolio_order(distances: FloatArray) -> IntArray:
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
    from scipy.spatial.distance import squareform

    condensed = squareform(distances, checks=False)
    return np.asarray(leaves_list(optimal_leaf_ordering(linkage(condensed, "ward"), condensed)), dtype=np.int64)


@kernel
def columns_distance(distances: FloatArray) -> FloatArray:
    """Euclidean distance between the columns of a symmetric matrix: float64 of shape (n_names, n_names).

    A sum is accumulated in four parts: as fast as vector instructions, and the same result on all processors.
    """
    n = len(distances)
    result = np.zeros((n, n))
    for i in range(n):
        row = distances[i]
        for j in range(i + 1, n):
            column = distances[j]
            a, b, c, d = 0.0, 0.0, 0.0, 0.0
            k = 0
            while k + 4 <= n:
                x, y = row[k] - column[k], row[k + 1] - column[k + 1]
                z, w = row[k + 2] - column[k + 2], row[k + 3] - column[k + 3]
                a += x * x
                b += y * y
                c += z * z
                d += w * w
                k += 4
            total = (a + b) + (c + d)
            while k < n:
                x = row[k] - column[k]
                total += x * x
                k += 1
            result[i, j] = result[j, i] = np.sqrt(total)
    return result


@kernel
def single_linkage_order(distances: FloatArray) -> IntArray:
    """Leaf order of single linkage: of two clusters that merge, the one that was created earlier is first.

    The merges are the edges of the minimum spanning tree (Prim's algorithm) in ascending order.

    Args:
        distances: float64 of shape (n_names, n_names), symmetric.

    Returns:
        int64 of shape (n_names,).

    """
    n = len(distances)
    near, source = np.full(n, np.inf), np.zeros(n, dtype=np.int64)
    left, right, height = np.empty(n - 1, np.int64), np.empty(n - 1, np.int64), np.empty(n - 1)
    inside = np.zeros(n, dtype=np.bool_)
    at = 0
    for step in range(n - 1):
        inside[at] = True
        best, nearest = -1, np.inf
        for j in range(n):
            if inside[j]:
                continue
            if distances[at, j] < near[j]:
                near[j], source[j] = distances[at, j], at
            if best < 0 or near[j] < nearest:
                best, nearest = j, near[j]
        left[step], right[step], height[step] = source[best], best, nearest
        at = best
    # Clusters as chains: first and last leaf of a cluster, and the leaf after each leaf.
    parent = np.arange(n)
    label, head, tail, follower = np.arange(n), np.arange(n), np.arange(n), np.full(n, -1)
    edges = np.argsort(height, kind="mergesort")
    for merge in range(n - 1):
        x, y = left[edges[merge]], right[edges[merge]]
        while parent[x] != x:
            parent[x] = parent[parent[x]]
            x = parent[x]
        while parent[y] != y:
            parent[y] = parent[parent[y]]
            y = parent[y]
        if label[x] > label[y]:
            x, y = y, x
        follower[tail[x]] = head[y]
        tail[x] = tail[y]
        parent[y] = x
        label[x] = n + merge
    while parent[at] != at:
        at = parent[at]
    order = np.empty(n, dtype=np.int64)
    leaf = head[at]
    for place in range(n):
        order[place] = leaf
        leaf = follower[leaf]
    return order


@kernel
def bisected(covariance: FloatArray, order: IntArray) -> FloatArray:
    """Weights by splitting the ordered names in the middle down to single names.

    Args:
        covariance: float64 of shape (n_names, n_names).
        order: int64 of shape (n_names,).

    """
    n = len(order)
    weights, inverse, row = np.ones(n), np.empty(n), np.empty(n)
    ordered = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            ordered[i, j] = covariance[order[i], order[j]]
        inverse[i] = 1.0 / ordered[i, i]
    starts, stops = np.empty(n, np.int64), np.empty(n, np.int64)
    starts[0], stops[0], waiting = 0, n, 1
    while waiting:
        waiting -= 1
        start, stop = starts[waiting], stops[waiting]
        if stop - start < 2:
            continue
        middle = start + (stop - start) // 2
        variances = np.zeros(2)
        for half in range(2):
            first, last = (start, middle) if half == 0 else (middle, stop)
            total = 0.0
            row[first:last] = 0.0
            for i in range(first, last):
                total += inverse[i]
                for j in range(first, last):
                    row[j] += inverse[i] * ordered[i, j]
            variance = 0.0
            for j in range(first, last):
                variance += row[j] * inverse[j]
            variances[half] = max(variance / (total * total), 1e-300)
        share = 1.0 - variances[0] / (variances[0] + variances[1])
        weights[start:middle] *= share
        weights[middle:stop] *= 1.0 - share
        starts[waiting], stops[waiting] = start, middle
        starts[waiting + 1], stops[waiting + 1] = middle, stop
        waiting += 2
    result = np.empty(n)
    for i in range(n):
        result[order[i]] = weights[i]
    return result
