"""Unused rows of the `files` provider: number, reason, and some names.

Likely mistakes are errors where they are read; this module counts rows that may be left out.
"""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import wraps
from typing import Concatenate, NamedTuple, ParamSpec, Protocol, TypeVar

import polars as pl

from quant_assets.errors import SourceError
from quant_assets.settings.providers import FundamentalFile, PriceFile, SecuritiesFile
from quant_assets.sources.files_columns import KINDS, MAPPING, File
from quant_assets.sources.files_reading import collect

#: Number of rows or tickers that a sentence names.
SHOWN = 5

#: Invisible characters, often copied from web pages.
_WITHOUT_WIDTH = re.compile(r"[\u00ad\u200b-\u200f\u2060\ufeff]")
#: Separators of a company's symbol and its share class.
_SIGNS = re.compile(r"[\W_]")

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="_Mapped")


class _Mapped(Protocol):
    """A source with the file of its settings."""

    mapping: str


def naming_the_file(answer: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Replace the default mapping file in errors by the one in use."""

    @wraps(answer)
    def named_so(source: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return answer(source, *args, **kwargs)
        except SourceError as error:
            raise SourceError(str(error).replace(MAPPING, source.mapping)) from None

    return named_so


class LeftOut(NamedTuple):
    """Rows of one file that are not used, for one reason.

    Attributes:
        kind: of the file, as in the settings.
        file: its name, with the entry of the settings if several read it.
        reason: a phrase after "rows".
        rows: their number.
        of: number of rows of the entry; None if unknown.
        named: names of the rows.

    """

    kind: str
    file: str
    reason: str
    rows: int
    of: int | None
    named: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """One line for people."""
        rows = f"{self.rows} rows" if self.of is None else f"{self.rows} of {self.of} rows"
        return f"{self.file}: {rows} {self.reason} ({_some(self.named)})"


class FilesReport:
    """Rows left out so far, by entry of the settings and reason."""

    def __init__(self) -> None:
        #: Entries of statements, several of which may read one file; set by the reader.
        self.fundamentals: Sequence[FundamentalFile] = ()
        self._found: dict[tuple[int, str], LeftOut] = {}
        #: Number of rows by entry, before any were left out.
        self._rows: dict[int, int] = {}

    def own(self, file: FundamentalFile, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows without those of forms that another entry of the same file takes."""
        column = file.columns.get("form")
        alike = [each for each in self._beside(file) if each.columns.get("form") == column]
        taken = {form for each in alike for form in each.forms} - set(file.forms)
        if not file.forms or not taken:
            return rows
        return rows.filter(~pl.col("form").is_in(sorted(taken)).fill_null(False))

    def leave_out(self, file: File, rows: pl.DataFrame, wrong: pl.Expr, reason: str, *named: str) -> pl.DataFrame:
        """The rows without the wrong ones, which are counted.

        Args:
            file: entry of the settings.
            rows: of the file.
            wrong: whether a row is left out; null means no.
            reason: a phrase after "rows".
            named: columns that name a row.

        """
        wrong = wrong.fill_null(False)
        self._rows.setdefault(id(file), len(rows))
        self.count(file, rows.filter(wrong), reason, *named)
        return rows.filter(~wrong)

    def count(self, file: File, wrong: pl.DataFrame, reason: str, *named: str) -> None:
        """Count rows of a file to report, after `leave_out`."""
        if len(wrong):
            names = wrong.select(pl.concat_str(pl.col(named).cast(pl.String), separator=" ", ignore_nulls=True))
            shown = names.to_series().drop_nulls().unique().sort().to_list()
            kind, of = KINDS[type(file)], self._rows.get(id(file))
            self._found[id(file), reason] = LeftOut(kind, self._entry(file), reason, len(wrong), of, tuple(shown))

    def left_out(self) -> list[LeftOut]:
        """All counts, in the order of their discovery."""
        return list(self._found.values())

    def _beside(self, file: File) -> list[FundamentalFile]:
        """Other entries of statements that read the same file."""
        others = [each for each in self.fundamentals if each is not file and each.file == file.file]
        return others if isinstance(file, FundamentalFile) else []

    def _entry(self, file: File) -> str:
        if not isinstance(file, FundamentalFile) or not self._beside(file):
            return file.file
        return f"{file.file} ({file.provider}, {', '.join(file.forms) or file.frequency})"


def said_tickers(
    securities: SecuritiesFile | None, priced: pl.Series, members: pl.Series, placed: pl.Series, *others: pl.Series
) -> list[str]:
    """Sentences on tickers that differ only in case and so on, and on members that the file of sectors lacks.

    Args:
        securities: the file of sectors.
        priced: tickers that have a bar.
        members: of the universe.
        placed: tickers with a sector.
        others: tickers of further files.

    """
    lost = [] if securities is None else said_without_sector(securities.file, {*priced} & {*members}, placed)
    return [*lost, *said_by_case(pl.concat([priced, members, placed, *others]).unique())]


def said_by_case(tickers: Iterable[str]) -> list[str]:
    """Sentences on tickers that differ only in case, or in spaces and punctuation.

    Usually they are two spellings of one company: BRK.B and BRK-B, or one with a trailing blank or an invisible
    character, which is shown as its code.
    """
    groups: dict[tuple[str, str], set[str]] = {}
    for ticker in tickers:
        cased = ticker.upper()
        groups.setdefault(("case", cased), set()).add(ticker)
        groups.setdefault(("spaces or signs", _SIGNS.sub("-", _WITHOUT_WIDTH.sub("", cased).strip())), set()).add(cased)
    said = []
    for how in ("case", "spaces or signs"):
        alike = sorted(
            " and ".join(sorted(map(_visible, each)))
            for (kind, _), each in groups.items()
            if kind == how and len(each) > 1
        )
        if alike:
            said.append(f"tickers that differ only in {how} are taken for different ones: {_some(tuple(alike))}")
    return said


def said_without_sector(file: str, priced: Iterable[str], placed: Iterable[str]) -> list[str]:
    """Sentences on tickers with prices that no sector can have.

    Args:
        file: name of the file of sectors.
        priced: tickers that have a bar; where there is a file of members, those of it.
        placed: tickers of the file of sectors.

    """
    lost = tuple(map(_visible, sorted({*priced} - {*placed})))
    if not lost:
        return []
    return [f"tickers with prices but without a sector in {file} are left out of every sector: {_some(lost)}"]


def said_strangers(statements: pl.DataFrame, priced: pl.Series) -> list[str]:
    """Sentences on providers without any statement of a ticker with a price: their spelling differs.

    Args:
        statements: `sources.base.STATEMENTS`.
        priced: tickers that have a bar.

    """
    each = statements.group_by("provider").agg(pl.col("ticker").unique().sort()).sort("provider")
    return [
        f"no statement of {provider} is of a ticker with a price ({_some(tuple(map(_visible, tickers)))}); spell "
        "tickers alike in all files, or set read: {ticker_suffix: …} in its mapping"
        for provider, tickers in each.iter_rows()
        if len(priced) and set(tickers).isdisjoint(priced)
    ]


def said_twins(
    file: PriceFile, ends: pl.DataFrame, bars: pl.LazyFrame, renames: Collection[Collection[str]]
) -> list[str]:
    """Sentences on tickers of a file with the same bars: a duplicate download, or a company under two symbols.

    They would all count as companies. The close and the volume of the first and the last day are compared.

    Args:
        file: of the bars.
        ends: `ticker`, `first` and `last` (Date of its first and last bar).
        bars: all of it.
        renames: known sets of symbols of one company.

    """
    spans = pl.struct("first", "last")
    alike = ends.filter(spans.is_duplicated() & (pl.col("first") < pl.col("last")))
    days = pl.concat([alike["first"], alike["last"]]).unique().to_list()
    if not days:
        return []
    edges = bars.filter(pl.col("date").is_in(days)).select("ticker", "date", "close", "volume")
    figures = (pl.col("close", "volume").first().name.prefix("first_"), pl.col("close", "volume").last())
    each = (
        alike.join(collect(edges, file.file), on="ticker")
        .filter(pl.col("date").is_in(pl.concat_list("first", "last")))
        .sort("ticker", "date")
        .group_by("ticker", "first", "last")
        .agg(*figures)
        .filter(pl.max_horizontal("first_volume", "volume") > 0.0)  # tickers without trading may look alike
    )
    twins = each.group_by(pl.exclude("ticker")).agg(pl.col("ticker").sort())["ticker"].to_list()
    known = {frozenset(each) for each in renames}
    found = sorted(
        " and ".join(map(_visible, each)) for each in twins if len(each) > 1 and frozenset(each) not in known
    )
    if not found:
        return []
    return [f"{file.file}: tickers with the same bars are taken for different companies: {_some(tuple(found))}"]


def _visible(ticker: str) -> str:
    """A ticker for display: escaped if it has leading or trailing blanks or invisible characters."""
    return ascii(ticker) if ticker != ticker.strip() or _WITHOUT_WIDTH.search(ticker) else ticker


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(name or 'empty' for name in names[:SHOWN])}{more}"
