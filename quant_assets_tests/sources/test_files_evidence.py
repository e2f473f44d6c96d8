"""What prices on ex-days show of their adjustment, on drawn walks and on real files."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_assets.sources.files_evidence import adjustment_of


def drawn(taken_out: bool, tickers: int, years: int, seed: int = 1) -> pl.DataFrame:
    """Walks with a common market, and a dividend of .7 % each quarter."""
    rng = np.random.default_rng(seed)
    count = 252 * years
    days = pl.date_range(pl.date(2010, 1, 1), pl.date(2040, 1, 1), eager=True)[:count]
    market, frames = rng.normal(0.0003, 0.01, count), []
    for number in range(tickers):
        moves = market + rng.normal(0.0, 0.015, count)
        ex_day = (np.arange(count) + 7 * number) % 63 == 62
        if not taken_out:
            moves = moves + np.log1p(np.where(ex_day, -0.007, 0.0))
        close = 50.0 * np.exp(np.cumsum(moves))
        before = np.concatenate([close[:1], close[:-1]])
        frames.append(
            pl.DataFrame(
                {"date": days, "close": close, "dividend": np.where(ex_day, 0.007 * before, 0.0)}
            ).with_columns(ticker=pl.lit(f"T{number}"), split_ratio=1.0)
        )
    return pl.concat(frames)


@pytest.mark.parametrize("seed", range(20))
def test_the_moves_on_ex_days_tell_whether_dividends_are_taken_out(seed: int) -> None:
    for taken_out, adjustment in ((True, "total_return"), (False, "split_adjusted")):
        found = adjustment_of(drawn(taken_out, 30, 5, seed), None, "prices.csv")
        assert found.adjustment == adjustment
        assert "on 600 ex-days the close moved by" in found.evidence
        assert "write adjustment" not in found.evidence


def test_few_ex_days_decide_nothing_wrong() -> None:
    """One ticker over four years, whose own moves hide its dividends: mostly undecided, and said so."""
    undecided = 0
    for seed in range(100):
        for taken_out, wrong in ((True, "dividends are not taken out"), (False, "dividends are taken out of")):
            found = adjustment_of(drawn(taken_out, 1, 4, seed), None, "prices.csv")
            assert wrong not in found.evidence, (seed, found)
            if "write adjustment: total_return" in found.evidence:
                undecided += 1
                assert found.adjustment == "split_adjusted"
    assert undecided > 150


@pytest.mark.parametrize(("name", "adjustment"), [("adjusted", "total_return"), ("raw", "as_traded")])
def test_real_files_are_recognised(shared_data: Path, name: str, adjustment: str) -> None:
    bars = pl.scan_parquet(shared_data / f"prices_sp500_{name}.parquet")
    bars = bars.filter(pl.col("ticker") < "BB", pl.col("date") >= pl.date(2015, 1, 1)).collect()
    found = adjustment_of(bars, None, f"prices_sp500_{name}.parquet")
    assert found.adjustment == adjustment
    assert "closes fall with the split" in found.evidence or "ex-days the close moved by" in found.evidence
