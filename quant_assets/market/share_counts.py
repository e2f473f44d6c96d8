"""Which ratios of spin-offs a provider's share counts reflect.

Price files give spin-offs as splits, which change no share count.
"""

import math

import polars as pl

from quant_assets.market.events import is_spin_off

#: How near a count lies to one with the ratio (1) or without it (0), in units of the logarithm of the ratio.
_NEAR = 0.25
#: A ratio below this cannot be told from the changes of counts from one period to the next.
_LEAST = 1.03


def spin_offs(splits: pl.DataFrame) -> pl.DataFrame:
    """Those of the splits (`ticker`, `day`, `ratio`) that share counts are corrected for, by ticker, newest first."""
    found = splits.filter(is_spin_off(pl.col("ratio")) & (pl.col("ratio") >= _LEAST))
    return found.select("ticker", "day", "ratio").sort("ticker", "day", descending=[False, True])


def spin_off_correction(counts: pl.DataFrame, splits: pl.DataFrame) -> pl.Series:
    """What to multiply share counts with that every split after their publication was taken out of.

    Those of spin-offs are included.

    Some providers multiply the counts before a spin-off by its ratio as by a split's, some do not, some do for a part
    of the periods. The counts of one download tell: from the first period after the ex-day backwards, each is held
    against the one after it. One published before the ex-day that is no larger does not have the ratio, and gets it
    back; one published since that is larger by the ratio still has it, and loses it. Where no later period can tell, or
    the ratio is small, nothing is corrected.

    All counts of one download were known together, later than each publication: the correction takes out what the
    download knew too much.

    Args:
        counts: `ticker`, `company`, `vintage` (Date of the download), `period_end`, `day` (Date of publication),
            `shares` (as downloaded, null where absent), in any order.
        splits: `ticker`, `day`, `ratio` (new shares for one old) up to the first download.

    Returns:
        Float64 of shape (n_counts,), 1 where nothing is to be corrected.

    """
    taken = spin_offs(splits)
    rows = counts.with_row_index().join(taken.select("ticker").unique(), on="ticker", how="semi").drop_nulls("shares")
    events = {
        ticker: part.select("day", "ratio").rows() for (ticker,), part in taken.group_by("ticker", maintain_order=True)
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
                    if -_NEAR < place < 1.5 or days[i] >= ex_day:  # a wrong count is no measure of those before it
                        reference = level[i]
    return pl.Series(corrections, dtype=pl.Float64)
