"""Correction of share counts for spin-offs, which price files give as splits but which change no share count."""

import math

import polars as pl

from quant_assets.market.events import is_spin_off

#: How near a count must be to one with the ratio (1) or without it (0), in units of the logarithm of the ratio.
_NEAR = 0.25
#: A ratio below this cannot be distinguished from the changes of counts between periods.
_LEAST = 1.03


def spin_offs(splits: pl.DataFrame) -> pl.DataFrame:
    """The splits (`ticker`, `day`, `ratio`) that share counts are corrected for, by ticker, newest first."""
    rows = splits.filter(is_spin_off(pl.col("ratio")) & (pl.col("ratio") >= _LEAST))
    return rows.select("ticker", "day", "ratio").sort("ticker", "day", descending=[False, True])


def spin_off_correction(counts: pl.DataFrame, splits: pl.DataFrame) -> pl.Series:
    """Factors that correct share counts, after the removal of all splits (spin-offs included) since publication.

    Some providers multiply the counts before a spin-off by its ratio as for a split, some do not, some do so for a part
    of the periods. The counts of one download show which: from the first period after the ex-day backwards, each count
    is compared with the next period's. A count published before the ex-day that is not larger lacks the ratio, which is
    multiplied back; one published since then that is larger by the ratio still has it and is divided by it. Without a
    later period to compare with, or for a small ratio, nothing is corrected.

    A download is later than the publications in it: the correction removes what the download knew in advance.

    Args:
        counts: `ticker`, `company`, `vintage` (Date of the download), `period_end`, `day` (Date of publication),
            `shares` (as downloaded, null where absent), in any order.
        splits: `ticker`, `day`, `ratio` (new shares for one old) up to the first download.

    Returns:
        Float64 of shape (n_counts,), 1 where nothing is corrected.

    """
    ratios = spin_offs(splits)
    rows = counts.with_row_index().join(ratios.select("ticker").unique(), on="ticker", how="semi").drop_nulls("shares")
    events = {
        ticker: part.select("day", "ratio").rows() for (ticker,), part in ratios.group_by("ticker", maintain_order=True)
    }
    corrections = [1.0] * len(counts)
    for (ticker, *_), part in rows.sort("period_end", descending=True).group_by(
        "ticker", "company", "vintage", maintain_order=True
    ):
        index, ends, days = (part[name].to_list() for name in ("index", "period_end", "day"))
        level = [math.log(shares) for shares in part["shares"]]  # without the ratios of the events seen so far
        for ex_day, ratio in events[ticker]:
            reference, step = None, math.log(ratio)
            for i, end in enumerate(ends):
                if end >= ex_day:
                    reference = level[i]
                elif reference is not None:
                    place = (level[i] - reference) / step
                    reflected = place >= _NEAR if days[i] < ex_day else abs(place - 1.0) < _NEAR
                    if reflected:
                        level[i] -= step
                    if reflected != (days[i] < ex_day):
                        corrections[index[i]] *= 1.0 / ratio if reflected else ratio
                    if -_NEAR < place < 1.5 or days[i] >= ex_day:  # a wrong count is no reference for earlier ones
                        reference = level[i]
    return pl.Series(corrections, dtype=pl.Float64)
