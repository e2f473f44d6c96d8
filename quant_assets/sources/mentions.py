"""Which companies a text is about: names, aliases and symbols to tickers as they were at the time. Pure.

What may mean several companies is left out, and counted: a wrong company is worse than none.
"""

import polars as pl

#: What a company was called, one row for each name, alias or symbol: `name` meant `ticker` from the day `since` on, and
#: until the day before `until` (null where it still does). A name is found with its capitals, as words of their own. A
#: symbol is found where a text marks it as one: `$EXM`, `NYSE: EXM`, `(EXM)`.
NAMES = pl.Schema(
    {"name": pl.String(), "ticker": pl.String(), "since": pl.Date(), "until": pl.Date(), "is_symbol": pl.Boolean()}
)

#: Companies of texts.
MENTIONS = pl.Schema({"item": pl.String(), "ticker": pl.String()})

#: Names that stood for several companies, and in how many texts.
AMBIGUOUS = pl.Schema({"name": pl.String(), "tickers": pl.String(), "texts": pl.UInt32()})

#: Stand in brackets as what they abbreviate; after `$` or an exchange they are symbols.
_ABBREVIATIONS = (
    *("AI", "AR", "CEO", "CFO", "COO", "CPI", "DC", "EPS", "ESG", "ETF", "EU", "EV", "FDA", "FTC", "GDP", "IPO"),
    *("IT", "LLC", "PC", "PE", "PR", "SEC", "TV", "UK", "US", "USA", "VR"),
)
_MARKED = r"(?:\$|\b(?:NYSE|NASDAQ|Nasdaq|AMEX|NYSEAMERICAN)\s*:\s*)([A-Z]{1,5}(?:[.-][A-Z])?)\b"
_BRACKETED = r"\(([A-Z]{1,5}(?:[.-][A-Z])?)\)"


def mentions(texts: pl.DataFrame, names: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The companies of each text.

    The longest name counts where one is part of another ("Delta Air Lines", "Delta").

    Args:
        texts: `item`, `known_at`, `title`, `text` (null where there is none), as of `collected_news.known`.
        names: `NAMES`.

    Returns:
        `MENTIONS`, each company of a text once, sorted; and `AMBIGUOUS`, sorted by name.

    """
    whole = texts.select(
        "item",
        day=pl.col("known_at").dt.date(),
        whole=pl.concat_str(pl.col("title", "text").fill_null(""), separator=" __ "),
    )
    found = pl.concat([_names_in(whole, names.filter(~pl.col("is_symbol"))), _symbols_in(whole)])
    meant = (
        found.unique()
        .join(names, on=["name", "is_symbol"], how="inner")
        .filter(pl.col("since") <= pl.col("day"), pl.col("until").is_null() | (pl.col("day") < pl.col("until")))
        .with_columns(companies=pl.col("ticker").n_unique().over("item", "name"))
        .with_columns(clear=(pl.col("companies") == 1) & ~pl.col("is_abbreviation"))
    )
    clear = meant.filter("clear").select(list(MENTIONS)).unique().sort("item", "ticker")
    ambiguous = (
        meant.filter(~pl.col("clear"))
        .group_by("name")
        .agg(tickers=pl.col("ticker").unique().sort().str.join(", "), texts=pl.col("item").n_unique())
        .cast(AMBIGUOUS)
        .sort("name")
    )
    return clear, ambiguous


def _names_in(whole: pl.DataFrame, names: pl.DataFrame) -> pl.DataFrame:
    """`item`, `day`, `name` of each name in each text."""
    every = names.select("name", pattern=_words(pl.col("name"))).unique()
    # Of several that begin at one place the first one given is found: the longest.
    length = pl.col("pattern").str.len_chars()
    patterns = every.select(pl.col("pattern").unique()).sort(length, "pattern", descending=True)["pattern"]
    return (
        whole.with_columns(pattern=_words(pl.col("whole")).str.extract_many(pl.lit(patterns).implode(), leftmost=True))
        .explode("pattern")
        .join(every, on="pattern", how="inner")
        .select("item", "day", "name", is_symbol=pl.lit(value=False), is_abbreviation=pl.lit(value=False))
    )


def _symbols_in(whole: pl.DataFrame) -> pl.DataFrame:
    """The same of symbols."""
    every = []
    for pattern, marked in ((_MARKED, True), (_BRACKETED, False)):
        found = whole.select("item", "day", name=pl.col("whole").str.extract_all(pattern)).explode("name")
        found = found.with_columns(pl.col("name").str.extract(pattern)).drop_nulls("name")
        every.append(
            found.with_columns(
                is_symbol=pl.lit(value=True),
                is_abbreviation=pl.col("name").is_in(_ABBREVIATIONS) & pl.lit(value=not marked),
            )
        )
    # An abbreviation that is marked elsewhere in the text is a symbol.
    return pl.concat(every).group_by("item", "day", "name", "is_symbol").agg(pl.col("is_abbreviation").all())


def _words(text: pl.Expr) -> pl.Expr:
    """Words with two blanks between them and one around: what is found is whole words, also beside one another."""
    words = text.str.replace_all(r"['’]s\b", "").str.replace_all(r"[^\w&]+", "  ").str.strip_chars()
    return pl.concat_str(pl.lit(" "), words, pl.lit(" "))
