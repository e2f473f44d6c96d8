"""Daily candles of crypto pairs: the table that all venues fill, their questions, and differences between venues."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import combinations

import polars as pl

from quant_assets.collectors.answers import Nothing, Rows
from quant_assets.collectors.base import Question, Questions, Wanted
from quant_assets.collectors.histories import Span, answered_spans, unanswered
from quant_assets.collectors.tables import Table

#: One candle of a pair at a venue and completed UTC day. Prices in the pair's second currency, volume in its first.
CANDLES = Table(
    "candles",
    pl.Schema(
        {
            "pair": pl.String,
            "venue": pl.String,
            "date": pl.Date,
            "open": pl.Float64,
            "high": pl.Float64,
            "low": pl.Float64,
            "close": pl.Float64,
            "volume": pl.Float64,
        }
    ),
    ("pair", "venue", "date"),
)

_DAY = timedelta(days=1)

#: Differences between the candles of two venues.
APART = pl.Schema(
    {
        "pair": pl.String,
        "date": pl.Date,
        "venue": pl.String,
        "other_venue": pl.String,
        "close": pl.Float64,
        "other_close": pl.Float64,
        "close_apart": pl.Float64,
        "range_apart": pl.Float64,
        "volume_ratio": pl.Float64,
    }
)


@dataclass(frozen=True)
class Days:
    """How a venue is asked for the candles of a pair.

    Attributes:
        provider: its name.
        endpoint: kind of its requests.
        most: largest number of days of a request.
        question: makes the request of a pair, with its subject and the first and last day.

    """

    provider: str
    endpoint: str
    most: int
    question: Callable[[str, str, Span], Question]

    def planned(self, wanted: Wanted, pairs: Sequence[str]) -> int:
        """The number of questions."""
        return sum(map(len, self.spans(wanted, pairs).values()))

    def questions(self, wanted: Wanted, pairs: Sequence[str]) -> Questions:
        """The spans of each pair; after an answer without a statement about the market the next pair."""
        today = wanted.now.date()
        for pair, spans in self.spans(wanted, pairs).items():
            for begin, end in spans:
                # Only the last days have the pair as subject: an interrupted history goes on from its newest candle.
                subject = pair if end == today else f"{pair} from {begin}"
                answer = yield self.question(pair, subject, (begin, end))
                if not isinstance(answer, Rows | Nothing):
                    break

    def spans(self, wanted: Wanted, pairs: Sequence[str]) -> dict[str, list[Span]]:
        """What is to be requested of each pair, in spans of at most `most` days.

        First the days from its newest candle on, which is requested again because a venue may revise it, except where
        they were answered since the last session closed; then the days from `since` on that were never answered, the
        latest first: so all days between a pair's first and newest candle have been answered, wherever it breaks off.
        """
        today, candles = wanted.now.date(), wanted.tables.newest(CANDLES.name)
        ends = candles.group_by("pair").agg(pl.col("date").min().alias("first"), pl.max("date"))
        known = {pair: (first, last) for pair, first, last in ends.iter_rows() if pair in pairs}
        late = {pair for pair, (first, _) in known.items() if first > wanted.since}
        answered = answered_spans(self.provider, late, wanted.entries(date.min) if late else ())
        found: dict[str, list[Span]] = {}
        for pair in pairs:
            first, last = known.get(pair, (wanted.since, wanted.since))
            found[pair] = [] if wanted.is_done(self.endpoint, pair) else _parts((last, today), self.most)
            if pair in late:
                lacking = unanswered((wanted.since, first - _DAY), answered[pair])
                found[pair] += reversed([part for span in lacking for part in _parts(span, self.most)])
        return found


def _parts(span: Span, most: int) -> list[Span]:
    """The span in order, in parts of at most `most` days."""
    begin, end = span
    starts = [begin + n * _DAY for n in range(0, (end - begin).days + 1, most)]
    return [(start, min(start + (most - 1) * _DAY, end)) for start in starts]


def comparable(pairs: Collection[str], currencies: Mapping[str, str]) -> dict[str, str]:
    """Pairs of a venue that count as another pair: `{BTC-USD: BTC-USDT}`.

    A pair that the venue has itself stays; of several that would count as the same pair the first one counts.

    Args:
        pairs: pairs of one venue.
        currencies: second currencies that count as another.

    """
    same: dict[str, str] = {}
    for pair in sorted(pairs):
        first, second = pair.split("-")
        target = f"{first}-{currencies.get(second, second)}"
        if target not in {*pairs, *same.values()}:
            same[pair] = target
    return same


def apart(candles: pl.DataFrame, same: Mapping[str, str] | None = None) -> pl.DataFrame:
    """Differences of every two venues on each day of a pair from the later of their first candles on.

    Args:
        candles: newest versions of `CANDLES` of several venues.
        same: pairs that count as another: `{BTC-USD: BTC-USDT}`, a dollar for a dollar token, which differ by up to a
            few per mille.

    Returns:
        `APART`, sorted by pair, date and venues: the closes, `close_apart` (the second close over the first, less 1),
        `range_apart` (the larger of the same for high and low, by size) and `volume_ratio` (the second volume over the
        first). On a day that one venue lacks, its figures and the differences are null.

    """
    figures = ("high", "low", "close", "volume")
    candles = candles.with_columns(pl.col("pair").replace(dict(same or {}))).select("pair", "date", "venue", *figures)
    venues = candles["venue"].unique().sort().to_list()
    frames = [APART.to_frame()]
    for first, second in combinations(venues, 2):
        left, right = (candles.filter(venue=name).drop("venue") for name in (first, second))
        begun = pl.max_horizontal(
            *(pl.col("pair").replace_strict(_first_days(venue), default=None) for venue in (left, right))
        )
        ratio = {name: pl.col(f"other_{name}") / pl.col(name) for name in figures}
        high, low = ratio["high"] - 1.0, ratio["low"] - 1.0
        both = set(left["pair"]) & set(right["pair"])
        frames.append(
            left.join(
                right.rename({name: f"other_{name}" for name in figures}),
                on=["pair", "date"],
                how="full",
                coalesce=True,
            )
            .filter(pl.col("pair").is_in(sorted(both)))
            .filter(pl.col("date") >= begun)
            .with_columns(
                venue=pl.lit(first),
                other_venue=pl.lit(second),
                close_apart=ratio["close"] - 1.0,
                range_apart=pl.when(high.abs() >= low.abs()).then(high).otherwise(low),
                volume_ratio=pl.when(pl.col("volume") > 0.0).then(ratio["volume"]),
            )
            .select(list(APART))
        )
    return pl.concat(frames).sort("pair", "date", "venue", "other_venue")


def _first_days(candles: pl.DataFrame) -> dict[str, date]:
    return dict(candles.group_by("pair").agg(pl.col("date").min()).iter_rows())
