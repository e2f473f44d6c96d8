"""Upstream partitions of all partitions of each asset: the mappings as used by the web UI, backfills and sensors.

The real graph over 310 months and 11 sectors. The peer computes the months one by one in sets.
"""

import warnings
from datetime import UTC, datetime
from unittest.mock import patch

import dagster as dg

from benchmarks.ratio import Ratio, alternating
from quant_assets import partitions
from quant_assets.dagster_internals import UpstreamPartitionsResult, partition_loading_context
from quant_assets.graph import build_defs
from quant_assets.settings.loading import load_settings
from quant_assets_tests.upstream_by_sets import upstream_by_sets

Edge = tuple[dg.PartitionMapping, dg.PartitionsDefinition, dg.PartitionsDefinition]


def edges() -> list[Edge]:
    """Mapping, downstream and upstream partitions of each input of each asset."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        graph = build_defs(
            load_settings("demo", partitions={"start": "2000-01", "end": "2025-10"})
        ).resolve_asset_graph()
    return [
        (graph.get_partition_mapping(key, parent), graph.get(key).partitions_def, graph.get(parent).partitions_def)
        for key in graph.materializable_asset_keys
        for parent in graph.get(key).parent_keys
    ]


def read(all_edges: list[Edge]) -> list[UpstreamPartitionsResult]:
    """Upstream partitions of all partitions of each asset."""
    now = datetime.now(UTC)
    with partition_loading_context(effective_dt=now):
        complete = {id(by): by.subset_with_partition_keys(by.get_partition_keys()) for _, by, _ in all_edges}
        return [
            mapping.get_upstream_mapped_partitions_result_for_partitions(complete[id(by)], by, of, current_time=now)
            for mapping, by, of in all_edges
        ]


def measure() -> list[Ratio]:
    """Both give the same result, and both times include Dagster's own."""
    inputs = edges()

    def by_sets() -> None:
        with patch.object(partitions, "_upstream", upstream_by_sets):
            read(inputs)

    ours, sets = alternating(lambda: read(inputs), by_sets, repetitions=3)
    what = f"parents of all partitions, {len(inputs)} inputs"
    return [Ratio("partitions", what, ours, "month by month in sets", sets, "310 months x 11 sectors")]
