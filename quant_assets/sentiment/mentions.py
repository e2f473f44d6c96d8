"""Finds the companies that a title names, by their names when the title was known."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import polars as pl

from quant_assets.settings.sentiment import CompanyName


class Names:
    """Names of companies and their periods of use.

    Args:
        names: by ticker.
        tickers: tickers whose cashtags are names too, unless `names` has the cashtag.

    """

    def __init__(self, names: Mapping[str, Sequence[CompanyName]], tickers: Iterable[str] = ()) -> None:
        self._held: dict[str, list[tuple[str, date, date]]] = {}
        for ticker, company_names in names.items():
            for entry in company_names:
                self._held.setdefault(entry.name, []).append((ticker, entry.since, entry.until))
        for ticker in dict.fromkeys((*names, *tickers)):
            self._held.setdefault(f"${ticker}", [(ticker, date.min, date.max)])
        # The longest first: "Delta Air Lines" does not mention "Delta".
        ordered = sorted(self._held, key=lambda name: (-len(name), name))
        self._pattern = re.compile(rf"(?<![\w$])(?:{'|'.join(map(re.escape, ordered))})(?!\w)") if ordered else None

    def named(self, title: str, day: date) -> tuple[tuple[str, ...], bool]:
        """Tickers that a title names, sorted, and whether it has an ambiguous name.

        A name of several companies is resolved if the title also names one of them by another name.
        """
        if self._pattern is None:
            return (), False
        names = {match.group() for match in self._pattern.finditer(title)}
        owners = [{ticker for ticker, since, until in self._held[name] if since <= day <= until} for name in names]
        clear = {ticker for tickers in owners if len(tickers) == 1 for ticker in tickers}
        return tuple(sorted(clear)), any(len(tickers) > 1 and not tickers & clear for tickers in owners)


def mentions(news: pl.DataFrame, names: Names) -> pl.DataFrame:
    """Companies of each row: the one given by its provider, otherwise those that its title names.

    Nothing is taken from another row of the same item, which may have become known later.

    Args:
        news: `sources.base.NEWS`, one row for each item and company.
        names: of the companies.

    Returns:
        The same columns with a row for each company, `ticker` null without one, and `ambiguous`: whether the title has
        a name that cannot be resolved. Sorted by `known_at`, `item` and `ticker`.

    """
    silent = news.filter(pl.col("ticker").is_null())
    days = silent["known_at"].dt.convert_time_zone("America/New_York").dt.date()
    results = [names.named(title or "", day) for title, day in zip(silent["title"], days, strict=True)]
    named = silent.with_columns(
        ticker=pl.Series([tickers or (None,) for tickers, _ in results], dtype=pl.List(pl.String)),
        ambiguous=pl.Series([unclear for _, unclear in results], dtype=pl.Boolean),
    )
    provided = news.drop_nulls("ticker").with_columns(ambiguous=pl.lit(value=False))
    return pl.concat([provided, named.explode("ticker")]).sort("known_at", "item", "ticker")
