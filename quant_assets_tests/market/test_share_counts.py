"""Counts of one company, downloaded in 2025, around a spin-off with the ratio 1.25; and a real split of 2."""

from datetime import date

import polars as pl
import pytest

from quant_assets.market.share_counts import spin_off_correction

ENDS = [date(2023, 3, 31), date(2023, 6, 30), date(2023, 9, 30), date(2023, 12, 31)]
PUBLISHED = [date(2023, 5, 1), date(2023, 8, 1), date(2023, 11, 1), date(2024, 2, 1)]
SPIN_OFF = ("A", date(2023, 10, 2), 1.25 + 0.012)
SPLIT = ("A", date(2023, 10, 3), 2.0)
REVERSE = ("A", date(2023, 10, 4), 0.955)
SMALL = ("A", date(2023, 10, 5), 1.011)
RATIO = SPIN_OFF[2]


def _correction(
    shares: list[float | None], *splits: tuple[str, date, float], vintage: date = date(2025, 8, 8)
) -> list[float]:
    counts = pl.DataFrame(
        {
            "ticker": "A",
            "company": "A",
            "vintage": vintage,
            "period_end": ENDS[: len(shares)],
            "day": PUBLISHED[: len(shares)],
        }
    ).with_columns(shares=pl.Series(shares, dtype=pl.Float64))
    events = pl.DataFrame(splits, {"ticker": pl.String, "day": pl.Date, "ratio": pl.Float64}, orient="row")
    return spin_off_correction(counts, events).to_list()


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ([100.0, 100.0, 100.0, 101.0], [RATIO, RATIO, 1.0, 1.0]),  # a provider that applied nothing
        ([126.2, 126.2, 101.0, 101.0], [1.0, 1.0, 1.0, 1.0]),  # one that applied it
        ([126.2, 100.0, 100.0, 101.0], [1.0, RATIO, 1.0, 1.0]),  # to one period and not to the other
        ([126.2, 126.2, 126.2, 101.0], [1.0, 1.0, 1.0 / RATIO, 1.0]),  # to one that was published after it, too
        ([126.2, 126.2, 60.0, 101.0], [1.0, 1.0, 1.0, 1.0]),  # a wrong count between
        (
            [100.0, 80.0, 100.0, 101.0],
            [RATIO, RATIO, 1.0, 1.0],
        ),  # and one that would make those before it look too high
        ([126.2, 180.0, 101.0, 101.0], [1.0, 1.0, 1.0, 1.0]),  # or too low
        ([160.0, 160.0, 101.0, 101.0], [1.0, 1.0, 1.0, 1.0]),  # neither: as the provider says
        ([100.0, None, 100.0, 101.0], [RATIO, 1.0, 1.0, 1.0]),
        ([100.0, 100.0], [1.0, 1.0]),  # nothing tells
    ],
)
def test_a_ratio_that_the_counts_do_not_have_is_given_back(shares: list[float | None], expected: list[float]) -> None:
    assert _correction(shares, SPIN_OFF) == pytest.approx(expected)


def test_real_splits_and_small_ratios_stay_undone() -> None:
    for event in (SPLIT, REVERSE, SMALL):
        assert _correction([100.0, 100.0, 100.0, 100.0], event) == [1.0] * 4


def test_two_spin_offs_are_told_apart() -> None:
    """The second one is in the counts and the first is not."""
    first = ("A", date(2023, 7, 3), 1.4321)
    assert _correction([126.2, 126.2, 100.0, 100.0], first, SPIN_OFF) == pytest.approx([1.4321, 1.0, 1.0, 1.0])


def test_each_download_and_company_by_itself() -> None:
    one = pl.DataFrame(
        {
            "ticker": "A",
            "company": "A",
            "vintage": date(2025, 8, 8),
            "period_end": ENDS,
            "day": PUBLISHED,
            "shares": 100.0,
        }
    )
    other = one.with_columns(vintage=date(2026, 4, 10), shares=pl.Series([126.2, 126.2, 100.0, 100.0]))
    another = one.with_columns(company=pl.lit("A_old"), shares=pl.Series([126.2, 126.2, 100.0, 100.0]))
    stranger = one.with_columns(ticker=pl.lit("B"), company=pl.lit("B"))
    events = pl.DataFrame([SPIN_OFF], {"ticker": pl.String, "day": pl.Date, "ratio": pl.Float64}, orient="row")
    result = spin_off_correction(pl.concat([one, other, another, stranger]), events).to_list()
    assert result == pytest.approx([RATIO, RATIO, 1.0, 1.0, *[1.0] * 12])
