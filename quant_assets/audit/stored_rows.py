"""From rows that a model was handed back to the stored features and labels that they are. No judgement here."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from quant_assets.audit.fitting import Given
from quant_assets.learning.rows import feature_matrix
from quant_assets.market.panel import FloatArray


@dataclass(frozen=True)
class StoredRows:
    """Stored rows by what they hold.

    A row of features is told by all its values, a label by its value; those that occur twice tell nothing.

    Attributes:
        features: `ticker`, `date`, `content` (a hash of the values).
        labels: `ticker`, `date`, `horizon`, `forward_return`, `known_at`.

    """

    features: pl.DataFrame
    labels: pl.DataFrame

    @classmethod
    def of(cls, features: pl.DataFrame, labels: pl.DataFrame, names: tuple[str, ...]) -> "StoredRows":
        """The rows of datasets `features` and `labels`; `names` are the columns that a model sees, in order."""
        content = features.select("ticker", "date", content=_content(feature_matrix(features, names)))
        return cls(
            content.unique("content", keep="none"),
            labels.select("ticker", "date", "horizon", "forward_return", "known_at").sort("known_at"),
        )

    def horizon(self, given: Given) -> int | None:
        """Horizon of the labels that a model was fitted on; None where they are none of the stored ones."""
        alone = self.labels.unique("forward_return", keep="none").select("horizon", value="forward_return")
        met = pl.DataFrame({"value": given.values}).join(alone, on="value")["horizon"]
        return None if met.is_empty() else int(met.mode().sort()[0])

    def places(self, given: Given) -> pl.DataFrame:
        """`ticker` and `date` of each row by its features, null where none of the stored ones has them; its `value`."""
        rows = pl.DataFrame({"content": _content(given.matrix), "value": given.values})
        return rows.join(self.features, on="content", how="left", maintain_order="left").select(
            "ticker", "date", "value"
        )

    def rows(self, given: Given, horizon: int | None) -> pl.DataFrame:
        """What each row is.

        Returns:
            `ticker`, `date` and `known_at` of its label, null where it cannot be told, and `paired_ticker`,
            `paired_date`, to which its features belong.

        """
        labels = self.labels.filter(pl.col("horizon") == horizon)
        alone = labels.unique("forward_return", keep="none").select(
            "ticker", "date", "known_at", value="forward_return"
        )
        # A value that occurs twice (a price that stood still) is the one of the row that the features tell.
        same = labels.select(
            pl.col("ticker").alias("paired_ticker"),
            pl.col("date").alias("paired_date"),
            "known_at",
            value="forward_return",
        )
        placed = self.places(given).rename({"ticker": "paired_ticker", "date": "paired_date"})
        found = placed.join(alone, on="value", how="left", maintain_order="left")
        found = found.join(
            same, on=["paired_ticker", "paired_date", "value"], how="left", maintain_order="left", suffix="_same"
        )
        return found.select(
            pl.coalesce("ticker", pl.when(pl.col("known_at_same").is_not_null()).then("paired_ticker")).alias("ticker"),
            pl.coalesce("date", pl.when(pl.col("known_at_same").is_not_null()).then("paired_date")).alias("date"),
            pl.coalesce("known_at", "known_at_same").alias("known_at"),
            "paired_ticker",
            "paired_date",
        )


def _content(matrix: FloatArray) -> pl.Series:
    """A hash of each row's values; all missing values are one."""
    columns = {str(number): np.where(np.isnan(column), np.nan, column) for number, column in enumerate(matrix.T)}
    return pl.DataFrame(columns).hash_rows(seed=0)
