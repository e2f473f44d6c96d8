"""The days of a history that a provider has answered, by its journal. Without them a history is requested again."""

from collections.abc import Container, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

import httpx

from quant_assets.collectors.raw_store import Entry

#: First and last day.
Span = tuple[date, date]

#: Of providers that continue from a history's newest day: the endpoint, and the parameters with the requested span.
_GOING_ON = {
    "fmp": ("prices", "from", "to"),
    "binance": ("klines", "startTime", "endTime"),
    "coinbase": ("candles", "start", "end"),
}
_DAY = timedelta(days=1)


def answered_spans(provider: str, subjects: Iterable[str], entries: Iterable[Entry]) -> dict[str, list[Span]]:
    """The spans of histories that were answered, each history's in the order of their first days.

    Args:
        provider: its name.
        subjects: names of the histories.
        entries: of the whole journal.

    """
    found: dict[str, list[Span]] = {name: [] for name in subjects}
    for name, span in _answered(provider, found, entries):
        found[name].append(span)
    return {name: sorted(spans) for name, spans in found.items()}


def never_asked_since(provider: str, subjects: Iterable[str], entries: Iterable[Entry], since: date) -> set[str]:
    """Histories that were never requested from a day on.

    Args:
        provider: its name.
        subjects: names of the histories.
        entries: of the whole journal; read until all are answered.
        since: the day.

    """
    remaining = set(subjects)
    for name, (begin, _) in _answered(provider, frozenset(remaining), entries):
        if begin <= since:
            remaining.discard(name)
            if not remaining:
                break
    return remaining


def unanswered(span: Span, answered: Sequence[Span]) -> list[Span]:
    """The parts of a span that are in none of the answered spans, which are sorted."""
    day, end = span
    found = list[Span]()
    for begin, until in answered:
        if begin > end:
            break
        if begin > day:
            found.append((day, begin - _DAY))
        day = max(day, until + _DAY)
    return [*found, (day, end)] if day <= end else found


def _answered(provider: str, subjects: Container[str], entries: Iterable[Entry]) -> Iterator[tuple[str, Span]]:
    """Names and spans of the requests that were answered, up to the last day that was over then.

    A request for a part of a history has the name as its subject's first word.
    """
    endpoint, first, last = _GOING_ON[provider]
    for entry in entries:
        name = entry.subject.split(" ")[0]
        if entry.endpoint == endpoint and name in subjects and entry.outcome in ("rows", "nothing"):
            asked = httpx.URL(entry.url).params
            if first in asked and last in asked:
                begin, end = _day(asked[first]), min(_day(asked[last]), entry.at.date() - _DAY)
                if begin <= end:
                    yield name, (begin, end)


def _day(text: str) -> date:
    """A day from a provider's parameter: written, or in milliseconds since 1970."""
    return datetime.fromtimestamp(int(text) / 1_000, UTC).date() if text.isdigit() else date.fromisoformat(text[:10])
