"""Columns that several datasets share."""

import polars as pl

from quant_assets.schemas.dataset import Column, Reference

#: Why a value goes on depending on the first bar (`Column.anchored`).
FIRST_BAR = "counted or anchored from the ticker's first bar in the profile, by contract"
TIES = (
    "compares prices that may be equal as traded: "
    "the last bit of an adjusted price, which follows from the first bar, decides"
)
LEARNED = (
    "models see features that are anchored at the first bar (`*_to_peak`), "
    "so what they say, and what follows from it, does too"
)

#: A row of a decision is about a member of the sector on that session.
MEMBER_AS_OF = Reference(("ticker", "as_of"), "universe", ("ticker", "date"))

HORIZON = Column(pl.Int32, "sessions from entry to exit", "sessions", ge=1)


def ticker() -> Column:
    """Symbol."""
    return Column(pl.String, "ticker symbol; a dot before the share class (BRK.B)")


def day(meaning: str = "trading day that the row is about") -> Column:
    """A date."""
    return Column(pl.Date, meaning)


def as_of() -> Column:
    """Session of a decision."""
    return Column(
        pl.Date,
        "last session of the month (in the running month the latest closed one); the decision uses nothing later",
    )


def price(meaning: str) -> Column:
    """A price: positive."""
    return Column(pl.Float64, meaning, "USD", gt=0)


def ratio(
    meaning: str, *, nullable: bool = True, ge: float | None = None, le: float | None = None, gt: float | None = None
) -> Column:
    """A pure number."""
    return Column(pl.Float64, meaning, "1", nullable=nullable, ge=ge, le=le, gt=gt)


def money(meaning: str) -> Column:
    """An amount of money, which may be missing."""
    return Column(pl.Float64, meaning, "USD", nullable=True)
