"""How months are divided into blocks: as few as hold the rows, alike in size, none left out."""

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
def test_months_are_divided_into_as_few_blocks_as_hold_their_rows(rows: dict[str, int], lengths: list[int]) -> None:
    found = divided(MONTHS, rows, 8)
    assert [len(block) for block in found] == lengths
    assert [month for block in found for month in block] == MONTHS


def test_a_block_holds_what_it_may_but_for_a_month_that_came_too_early() -> None:
    rows = dict(zip(MONTHS, (10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120), strict=True))
    found = divided(MONTHS, rows, 8)
    held = [sum(rows[month] for month in block) for block in found]
    assert len(held) <= 12
    assert max(held) <= 200
