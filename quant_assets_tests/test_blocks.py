"""How months are divided into blocks: no more than they may hold, alike in size, none left out."""

import pytest

from quant_assets.io import blocks
from quant_assets.io.blocks import divided
from quant_assets.partitions import month_range

MONTHS = month_range("2023-01", "2023-12")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 800)


@pytest.mark.parametrize(
    ("rows", "lengths"),
    [
        ({}, [12]),
        (dict.fromkeys(MONTHS, 8), [12]),  # 96 rows of 8 bytes
        (dict.fromkeys(MONTHS, 9), [6, 6]),
        (dict.fromkeys(MONTHS, 25), [4, 4, 4]),
        (dict.fromkeys(MONTHS, 1000), [1] * 12),  # a month is not divided
        ({MONTHS[0]: 150}, [1, 11]),
    ],
)
def test_months_are_divided_into_blocks_that_hold_their_rows(rows: dict[str, int], lengths: list[int]) -> None:
    found = divided(MONTHS, rows, 8)
    assert [len(block) for block in found] == lengths
    assert [month for block in found for month in block] == MONTHS


def test_a_block_holds_no_more_than_it_may_or_one_month() -> None:
    rows = dict(zip(MONTHS, (10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120), strict=True))
    found = divided(MONTHS, rows, 8)
    assert [month for block in found for month in block] == MONTHS
    assert all(len(block) == 1 or sum(rows[month] for month in block) <= 100 for block in found)
    assert 8 <= len(found) < 12, "780 rows, and from July on two months are too many for a block"
