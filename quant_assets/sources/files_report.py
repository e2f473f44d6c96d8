"""What files of the `files` provider hold that is not used: how many rows, why, and some of them by name.

Rows that cannot be told apart from a mistake are refused where they are read; here is counted what may be left out.
"""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import wraps
from typing import Concatenate, NamedTuple, ParamSpec, Protocol, TypeVar

import polars as pl

from quant_assets.errors import SourceError
from quant_assets.settings.providers import FundamentalFile, PriceFile
from quant_assets.sources.files_columns import KINDS, MAPPING, File
from quant_assets.sources.files_reading import collect

#: How many rows or tickers a sentence names.
SHOWN = 5

#: Letters that are not seen, which come with what is copied from a page.
_WITHOUT_WIDTH = re.compile(r"[\u00ad\u200b-\u200f\u2060\ufeff]")
#: What stands between a company's symbol and the class of its shares.
_SIGNS = re.compile(r"[\W_]")

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="_Mapped")


class _Mapped(Protocol):
    """A source that says by which file it reads others."""

    mapping: str


def naming_the_file(answer: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Let errors of an answer name the mapping in use, where those who raise them know the usual one alone."""

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
        kind: of the file, as the settings name it.
        file: its name, and which entry of the settings it is where several read it.
        reason: why, as a phrase after "rows".
        rows: how many.
        of: how many rows the entry has; None where that is not known.
        named: some of them.

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
    """What was left out of each file so far, once for each entry of the settings and reason."""

    def __init__(self) -> None:
        #: Entries of statements, several of which may read one file; set by whoever reads these.
        self.fundamentals: Sequence[FundamentalFile] = ()
        self._found: dict[tuple[int, str], LeftOut] = {}
        #: Of each entry, before anything was left out.
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
            wrong: which of them are not used; a null is none of them.
            reason: why, as a phrase after "rows".
            named: columns by which a row is named.

        """
        wrong = wrong.fill_null(False)
        self._rows.setdefault(id(file), len(rows))
        self.count(file, rows.filter(wrong), reason, *named)
        return rows.filter(~wrong)

    def count(self, file: File, wrong: pl.DataFrame, reason: str, *named: str) -> None:
        """Count rows of a file that something is to be said of; rows of it were left out before, or none."""
        if len(wrong):
            names = wrong.select(pl.concat_str(pl.col(named).cast(pl.String), separator=" ", ignore_nulls=True))
            shown = names.to_series().drop_nulls().unique().sort().to_list()
            kind, of = KINDS[type(file)], self._rows.get(id(file))
            self._found[id(file), reason] = LeftOut(kind, self._entry(file), reason, len(wrong), of, tuple(shown))

    def left_out(self) -> list[LeftOut]:
        """All of it, in the order in which it was found."""
        return list(self._found.values())

    def _beside(self, file: File) -> list[FundamentalFile]:
        """Other entries of statements that read the same file."""
        others = [each for each in self.fundamentals if each is not file and each.file == file.file]
        return others if isinstance(file, FundamentalFile) else []

    def _entry(self, file: File) -> str:
        if not isinstance(file, FundamentalFile) or not self._beside(file):
            return file.file
        return f"{file.file} ({file.provider}, {', '.join(file.forms) or file.frequency})"


def said_by_case(tickers: Iterable[str]) -> list[str]:
    """A sentence where tickers differ only in their letters' case, or in spaces and signs.

    They are two spellings of one company as a rule: BRK.B and BRK-B, or one with a blank at its end, or with a letter
    that is not seen and is shown as its number.
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


def said_strangers(statements: pl.DataFrame, priced: pl.Series) -> list[str]:
    """A sentence for each provider none of whose statements is of a ticker with a price: it spells them otherwise.

    Args:
        statements: `sources.base.STATEMENTS`.
        priced: tickers that have a bar.

    """
    each = statements.group_by("provider").agg(pl.col("ticker").unique().sort()).sort("provider")
    return [
        f"no statement of {provider} is of a ticker with a price ({_some(tuple(map(_visible, tickers)))}); write "
        "tickers in the same letters in all files, or say in its mapping read: {ticker_suffix: …}"
        for provider, tickers in each.iter_rows()
        if len(priced) and set(tickers).isdisjoint(priced)
    ]


def said_twins(
    file: PriceFile, ends: pl.DataFrame, bars: pl.LazyFrame, renames: Collection[Collection[str]]
) -> list[str]:
    """A sentence where tickers of a file have the same bars: a download kept twice, or a company under two symbols.

    Each of them would count, and be bought, as a company. Looked at are the close and the volume of the first day and
    the last.

    Args:
        file: whose bars they are.
        ends: `ticker`, `first` and `last` (Date of its first and last bar).
        bars: all of it.
        renames: symbols of one company, which are known to be so.

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
        .filter(pl.max_horizontal("first_volume", "volume") > 0.0)  # two that never trade may well look alike
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
    """A ticker as it is shown: in quotes where it begins or ends with a blank or has letters that are not seen."""
    return ascii(ticker) if ticker != ticker.strip() or _WITHOUT_WIDTH.search(ticker) else ticker


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(name or 'empty' for name in names[:SHOWN])}{more}"
