"""Finds histories that begin later than requested: providers that continue from the newest day do not go back."""

from collections.abc import Iterable
from datetime import UTC, date, datetime

import httpx

from quant_assets.collectors.raw_store import Entry

#: Of providers that continue from a history's newest day: the endpoint, and the parameter with the first requested day.
_GOING_ON = {"fmp": ("prices", "from"), "binance": ("klines", "startTime"), "coinbase": ("candles", "start")}
#: Number of named subjects.
_SHOWN = 5


def lacking_before(
    provider: str, asked: Iterable[tuple[str, str]], entries: Iterable[Entry], since: date
) -> str | None:
    """One line about histories that were never requested from `since` on; None where there are none.

    Args:
        provider: its name.
        asked: endpoints and subjects of this collection.
        entries: of the whole journal; read until all histories were requested from `since` on.
        since: first requested day.

    """
    endpoint, parameter = _GOING_ON.get(provider, ("", ""))
    remaining = {subject.split(" ")[0] for of, subject in asked if of == endpoint}
    begun: dict[str, date] = {}
    for entry in entries if remaining else ():
        subject = entry.subject.split(" ")[0]
        if entry.endpoint != endpoint or subject not in remaining or entry.outcome not in ("rows", "nothing"):
            continue
        start = httpx.URL(entry.url).params.get(parameter)
        if start is None:
            continue
        first = _day(start)
        begun[subject] = min(first, begun.get(subject, first))
        if first <= since:
            remaining.discard(subject)
            if not remaining:
                break
    later = sorted(remaining & set(begun))
    if not later:
        return None
    more = f" and {len(later) - _SHOWN} more" if len(later) > _SHOWN else ""
    return (
        f"{provider}: days from {since} to {max(begun[name] for name in later)} are not asked for of "
        f"{', '.join(later[:_SHOWN])}{more}: a history that was begun later goes on from its newest day; for an "
        "earlier one set another collecting.folder"
    )


def never_asked_since(provider: str, subjects: Iterable[str], entries: Iterable[Entry], since: date) -> set[str]:
    """Histories that were never requested from a day on.

    Args:
        provider: its name.
        subjects: names of the histories.
        entries: of the whole journal; read until all are answered, and not at all without subjects.
        since: the day.

    """
    endpoint, parameter = _GOING_ON[provider]
    remaining = set(subjects)
    for entry in entries if remaining else ():
        if entry.endpoint == endpoint and entry.subject in remaining and entry.outcome in ("rows", "nothing"):
            start = httpx.URL(entry.url).params.get(parameter)
            if start is not None and _day(start) <= since:
                remaining.discard(entry.subject)
                if not remaining:
                    break
    return remaining


def _day(text: str) -> date:
    """A day from a provider's parameter: written, or in milliseconds since 1970."""
    return datetime.fromtimestamp(int(text) / 1_000, UTC).date() if text.isdigit() else date.fromisoformat(text[:10])
