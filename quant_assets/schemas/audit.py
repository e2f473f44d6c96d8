"""Datasets about the graph itself, made only when somebody asks for them.

No run, job or audit has them among its assets.
"""

import polars as pl

from quant_assets.schemas.columns import as_of
from quant_assets.schemas.dataset import Column, Dataset


def _text(meaning: str, *, nullable: bool = False) -> Column:
    return Column(pl.String, meaning, nullable=nullable)


ON_DEMAND = (
    Dataset(
        "lookahead_audit",
        "What the quick look-ahead audit of the sector compared over the 24 months up to this one; "
        "the page is the named HTML file",
        ("as_of", "number"),
        "as_of",
        "as_of",
        {
            "as_of": as_of(),
            "number": Column(pl.Int32, "place in the audit", ge=1),
            "asset": _text("dataset whose rows were compared"),
            "test": _text("how the inputs were altered: cut off, replaced, published later and so on"),
            "cut": Column(
                pl.Date, "last day that the compared rows may know; null where the test has none", nullable=True
            ),
            "column": _text(
                "column that differs; null where none does, or where rows are there only once", nullable=True
            ),
            "compared": Column(pl.Int64, "how many rows of the dataset the test looked at", "rows", ge=0),
            "differing": Column(
                pl.Int64,
                "how many of the compared rows came out otherwise with the altered input",
                "rows",
                ge=0,
            ),
            "failed": Column(pl.Boolean, "whether rows differ that must not"),
            "first_date": Column(pl.Date, "day of the first row that differs", nullable=True),
            "ticker": _text("symbol of the first row that differs", nullable=True),
            "row_key": _text("values that identify the first row that differs"),
            "expected": _text("value of that column and row with unaltered input"),
            "found": _text("value of that column and row with altered input"),
            "deviation": Column(
                pl.Float64, "largest relative difference of a number in the column", "1", nullable=True, ge=0
            ),
            "cause": _text("most likely mistake behind the difference"),
            "inherited_from": _text("asset upstream that differs in the same test", nullable=True),
            "declared": _text("why a difference is no failure, as the schema declares it"),
            "through": _text("inputs each of which, altered alone, brings the difference about; empty where not asked"),
            "not_tested": _text(
                "what was not tested although it was asked for, and why, a line each; the same in every row of an audit"
            ),
            "exempt": _text("what no test reached or was asked to, by declaration, a line each; likewise"),
            "page_file": _text("HTML page, relative to the artifacts of the profile's storage"),
        },
    ),
)
