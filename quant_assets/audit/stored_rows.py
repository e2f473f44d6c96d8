"""Matching of a model's rows with the stored features and labels that they come from. No judgement."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from quant_assets.audit.fitting import Given
from quant_assets.learning.rows import feature_matrix
from quant_assets.market.panel import FloatArray


@dataclass(frozen=True)
class StoredRows:
    """Stored rows by their values.

    A row of features is identified by all its values, a label by its value; values that occur twice do not count.

    Attributes:
        features: `ticker`, `date`, `content` (a hash of the values).
        labels: `ticker`, `date`, `horizon`, `forward_return`, `known_at`.

    """

    features: pl.DataFrame
    labels: pl.DataFrame

    @classmethod
    def of(cls, features: pl.DataFrame, labels: pl.DataFrame, names: tuple[str, ...]) -> "StoredRows":
        """The rows of datasets `features` and `labels`; `names` are the model's columns, in order."""
        content = features.select("ticker", "date", content=_content(feature_matrix(features, names)))
        return cls(
            content.unique("content", keep="none"),
            labels.select("ticker", "date", "horizon", "forward_return", "known_at").sort("known_at"),
        )

    def horizon(self, given: Given) -> int | None:
        """Horizon of the labels that a model was fitted on; None if none of them is stored."""
        alone = self.labels.unique("forward_return", keep="none").select("horizon", value="forward_return")
        met = pl.DataFrame({"value": given.values}).join(alone, on="value")["horizon"]
        return None if met.is_empty() else int(met.mode().sort()[0])

    def places(self, given: Given) -> pl.DataFrame:
        """`ticker` and `date` of each row by its features, null if they are not stored; its `value`."""
        rows = pl.DataFrame({"content": _content(given.matrix), "value": given.values})
        return rows.join(self.features, on="content", how="left", maintain_order="left").select(
            "ticker", "date", "value"
        )

    def called(self, given: Given) -> pl.DataFrame:
        """`places`; where a row's features are not stored, the keys that the training states."""
        placed = pl.concat(
            [self.places(given), given.said.select(said_ticker="ticker", said_date="date")], how="horizontal"
        )
        return placed.select(pl.coalesce("ticker", "said_ticker"), pl.coalesce("date", "said_date"), "value")

    def rows(self, given: Given, horizon: int | None) -> pl.DataFrame:
        """Identify each row.

        A label that is not stored (filled, clipped or scaled) is taken to belong to the keys that the training states;
        `later_slices` tests whether that is true.

        Returns:
            `ticker`, `date` and `known_at` of its label, null if unknown, and the keys of its features, `paired_ticker`
            and `paired_date`.

        """
        labels = self.labels.filter(pl.col("horizon") == horizon)
        alone = labels.unique("forward_return", keep="none").select(
            "ticker", "date", "known_at", value="forward_return"
        )
        # A value that occurs twice (an unchanged price) belongs to the row of the features.
        same = labels.select(
            pl.col("ticker").alias("paired_ticker"),
            pl.col("date").alias("paired_date"),
            "known_at",
            value="forward_return",
        )
        placed = self.places(given).rename({"ticker": "paired_ticker", "date": "paired_date"})
        # Rows clipped at a bound share the value of one row whose label it is.
        once = pl.Series("once", given.values, dtype=pl.Float64).is_unique()
        matched = placed.with_columns(once).join(alone, on="value", how="left", maintain_order="left")
        matched = matched.with_columns(
            pl.when("once").then(name).alias(name) for name in ("ticker", "date", "known_at")
        )
        matched = matched.join(
            same, on=["paired_ticker", "paired_date", "value"], how="left", maintain_order="left", suffix="_same"
        )
        told = pl.coalesce("known_at", "known_at_same")
        own = pl.when(pl.col("known_at_same").is_not_null())
        matched = matched.select(
            pl.coalesce("ticker", own.then("paired_ticker")).alias("ticker"),
            pl.coalesce("date", own.then("paired_date")).alias("date"),
            told.alias("known_at"),
            told.is_not_null().alias("told"),
            "paired_ticker",
            "paired_date",
        )
        said = given.said.join(
            labels.select("ticker", "date", "known_at"), on=["ticker", "date"], how="left", maintain_order="left"
        )
        matched = pl.concat([matched, said.rename({name: f"said_{name}" for name in said.columns})], how="horizontal")
        return matched.select(
            *(
                pl.when("told").then(name).otherwise(f"said_{name}").alias(name)
                for name in ("ticker", "date", "known_at")
            ),
            "paired_ticker",
            "paired_date",
        )


def _content(matrix: FloatArray) -> pl.Series:
    """A hash of each row's values; all missing values are equal."""
    columns = {str(number): np.where(np.isnan(column), np.nan, column) for number, column in enumerate(matrix.T)}
    return pl.DataFrame(columns).hash_rows(seed=0)
