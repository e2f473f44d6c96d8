"""Comparison of files that rows name, pages among them, and of the figures and pictures in the web UI.

A page depends only on what was known at its decision, and so do its bytes: a figure, a curve or a scale that looks
ahead changes them.
"""

import base64
import io
import json
import os
import re
from collections.abc import Collection, Iterator, Sequence
from datetime import date

import dagster as dg
import numpy as np
import polars as pl

from quant_assets.audit.compare import Difference
from quant_assets.errors import DatasetError
from quant_assets.io.store import DatasetStore
from quant_assets.partitions import month_start, parse_key
from quant_assets.schemas import Dataset
from quant_assets.sources.registry import speaks_of_source

_SHOWN_BESIDE = "shown"
_PNG = b"\x89PNG"
#: Characters of a file that are shown around a difference.
_SHOWN = 60


def compare_files(
    dataset: Dataset, expected: pl.DataFrame, found: pl.DataFrame, stores: tuple[DatasetStore, DatasetStore]
) -> Iterator[Difference]:
    """Compare the content of the files that both frames name in their rows (columns that end with `_file`).

    Args:
        dataset: schema of the rows; files of a trained one are not compared, as their names are their hashes.
        expected: rows of the first store.
        found: rows of the second.
        stores: where the files are.

    """
    if dataset.reproducibility == "trained":
        return
    by = list(dict.fromkeys([*dataset.identity, dataset.dated_by]))
    for name in (each for each in dataset.columns if each.endswith("_file")):
        # Many rows name one page: the first of them is compared.
        named = expected.drop_nulls(name).unique(name, keep="first", maintain_order=True)
        both = named.join(found.select(name).unique(), on=name, how="semi", maintain_order="left")
        differing = []
        for row in both.iter_rows(named=True):
            one, other = (_content(store, row[name]) for store in stores)
            if one != other:
                shown = where_different(one, other)
                differing.append(
                    {each: row[each] for each in by} | dict(zip(("expected", "found"), shown, strict=True))
                )
        if differing:
            schema = {each: expected.schema[each] for each in by} | {"expected": pl.String, "found": pl.String}
            days = both[dataset.dated_by].unique().sort()
            yield Difference(name, pl.DataFrame(differing, schema).sort(dataset.dated_by), days, len(both))


def keep_shown(events: Sequence[dg.DagsterEvent], url: str, links: str) -> None:
    """Append the metadata of runs' partitions to files of a scratch storage, one per asset.

    Metadata of the whole run (`..._of_run`), of the provider's files, and Dagster's own are left out.

    Args:
        events: of the runs.
        url: of the storage, which addresses in the metadata begin with; it differs between computations.
        links: the part of the pages' links that differs likewise.

    """
    for event in events:
        if not event.is_step_materialization:
            continue
        made = event.step_materialization_data.materialization
        shown = {
            name: str(value.value).replace(url, "").replace(links, "")
            for name, value in made.metadata.items()
            if not (name.endswith("_of_run") or name.startswith("dagster/") or speaks_of_source(name))
        }
        if shown:
            os.makedirs(f"{url}/{_SHOWN_BESIDE}", exist_ok=True)
            with open(f"{url}/{_SHOWN_BESIDE}/{made.asset_key.path[-1]}", "a", encoding="utf-8") as file:
                file.write(json.dumps([made.partition, shown]) + "\n")


def compare_shown(
    dataset: Dataset, keys: Collection[str], stores: tuple[DatasetStore, DatasetStore], known_by: date | None
) -> Iterator[Difference]:
    """Compare the metadata of the same partitions in two computations.

    Args:
        dataset: of the partitions.
        keys: partitions.
        stores: scratch storages.
        known_by: last day that a partition may know; None for any.

    """
    sides = [_shown_beside(store, dataset.name) for store in stores]
    first = {
        each: month_start(parse_key(each)[1])
        for each in keys
        if all(each in side for side in sides) and all(_known(store, dataset, each, known_by) for store in stores)
    }
    found: dict[str, list[dict[str, object]]] = {}
    for each in sorted(first):
        one, other = (side[each] for side in sides)
        for name in one.keys() & other.keys():
            if one[name] != other[name]:
                shown = where_different(_picture(one[name]), _picture(other[name]))
                sector = {"sector": dataset.grain.parse(each)[0]} if dataset.grain.by_sector else {}
                row = sector | {dataset.dated_by: first[each], "expected": shown[0], "found": shown[1]}
                found.setdefault(name, []).append(row)
    for name in sorted(found):
        rows = pl.DataFrame(found[name]).sort(dataset.dated_by)
        yield Difference(f"{name} (shown)", rows, pl.Series(sorted(set(first.values())), dtype=pl.Date), len(first))


def _known(store: DatasetStore, dataset: Dataset, partition_key: str, known_by: date | None) -> bool:
    known = store.known_through(dataset, partition_key)
    return known_by is None or (known is not None and known <= known_by)


def _shown_beside(store: DatasetStore, name: str) -> dict[str, dict[str, str]]:
    try:
        with open(f"{store.url}/{_SHOWN_BESIDE}/{name}", encoding="utf-8") as file:
            return dict(map(json.loads, file))  # the last run of a partition wins
    except FileNotFoundError:
        return {}


def _picture(text: str) -> bytes:
    """The picture that a text embeds, else the text."""
    held = re.search(r"data:image/png;base64,([A-Za-z0-9+/=]+)", text)
    return base64.b64decode(held[1]) if held else text.encode()


def _content(store: DatasetStore, name: str) -> bytes:
    try:
        return store.read_artifact(name)
    except DatasetError:
        return b""


def where_different(expected: bytes, found: bytes) -> tuple[str, str]:
    """The first difference of two files: a piece of their text or drawing, or a count of pixels."""
    if expected.startswith(_PNG) and found.startswith(_PNG):
        return _pixels(expected, found)
    sides = [content.decode(errors="replace") for content in (expected, found)]
    # The visible text first: it says more than a coordinate.
    for made in (_text, str.splitlines):
        lines = [made(content) for content in sides]
        for one, other in zip(*lines, strict=False):
            if one != other:
                at = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
                start = max(0, at - _SHOWN // 2)
                return one[start : start + _SHOWN].strip(), other[start : start + _SHOWN].strip()
        if len(lines[0]) != len(lines[1]):
            return f"{len(lines[0])} lines", f"{len(lines[1])} lines"
    return f"{len(expected)} bytes", f"{len(found)} bytes"


def _text(page: str) -> list[str]:
    """The visible text of a page, a line per element."""
    return [line.strip() for line in re.sub(r"<[^>]*>", "\n", page).splitlines() if line.strip()]


def _pixels(expected: bytes, found: bytes) -> tuple[str, str]:
    from PIL import Image  # loaded only if pictures differ

    one, other = (np.asarray(Image.open(io.BytesIO(content)).convert("RGB")) for content in (expected, found))
    if one.shape != other.shape:
        return f"{one.shape[1]} x {one.shape[0]} pixels", f"{other.shape[1]} x {other.shape[0]} pixels"
    return "a picture", f"{int((one != other).any(axis=2).sum())} of {one.shape[0] * one.shape[1]} pixels differ"
