"""Which companies a title names, by what they were called when it was known."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import polars as pl

from quant_assets.settings.sentiment import CompanyName


class Names:
    """Names of companies and when they were theirs.

    Args:
        names: by ticker.
        tickers: whose cashtags are names of theirs, unless `names` has that cashtag.

    """

    def __init__(self, names: Mapping[str, Sequence[CompanyName]], tickers: Iterable[str] = ()) -> None:
        self._held: dict[str, list[tuple[str, date, date]]] = {}
        for ticker, own in names.items():
            for each in own:
                self._held.setdefault(each.name, []).append((ticker, each.since, each.until))
        for ticker in dict.fromkeys((*names, *tickers)):
            self._held.setdefault(f"${ticker}", [(ticker, date.min, date.max)])
        # The longest first: "Delta Air Lines" is no mention of "Delta".
        ordered = sorted(self._held, key=lambda name: (-len(name), name))
        self._pattern = re.compile(rf"(?<![\w$])(?:{'|'.join(map(re.escape, ordered))})(?!\w)") if ordered else None

    def named(self, title: str, day: date) -> tuple[tuple[str, ...], bool]:
        """Tickers that a title names, sorted, and whether it has a name of several companies that nothing decides.

        A name of several is decided where the title names one of them otherwise.
        """
        if self._pattern is None:
            return (), False
        found = {match.group() for match in self._pattern.finditer(title)}
        held = [{ticker for ticker, since, until in self._held[name] if since <= day <= until} for name in found]
        clear = {ticker for each in held if len(each) == 1 for ticker in each}
        return tuple(sorted(clear)), any(len(each) > 1 and not each & clear for each in held)


def mentions(news: pl.DataFrame, names: Names) -> pl.DataFrame:
    """Companies of each row: the one that its provider gives, else those that its title names.

    Nothing is taken over from another row of the same item, which may have become known later.

    Args:
        news: `sources.base.NEWS`, one row for each item and company.
        names: of the companies.

    Returns:
        The same columns with a row for each company, `ticker` null where there is none, and `ambiguous`: whether the
        title names a company which cannot be told. Sorted by `known_at`, `item` and `ticker`.

    """
    silent = news.filter(pl.col("ticker").is_null())
    days = silent["known_at"].dt.convert_time_zone("America/New_York").dt.date()
    found = [names.named(title or "", day) for title, day in zip(silent["title"], days, strict=True)]
    named = silent.with_columns(
        ticker=pl.Series([tickers or (None,) for tickers, _ in found], dtype=pl.List(pl.String)),
        ambiguous=pl.Series([unclear for _, unclear in found], dtype=pl.Boolean),
    )
    given = news.drop_nulls("ticker").with_columns(ambiguous=pl.lit(value=False))
    return pl.concat([given, named.explode("ticker")]).sort("known_at", "item", "ticker")
