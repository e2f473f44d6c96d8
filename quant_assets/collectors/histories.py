"""Histories that begin later than is asked for now: providers that go on from the newest day do not go back."""

from collections.abc import Iterable
from datetime import UTC, date, datetime

import httpx

from quant_assets.collectors.raw_store import Entry

#: Of providers that go on from a history's newest day: the endpoint, and the parameter with the first day asked for.
_GOING_ON = {"fmp": ("prices", "from"), "binance": ("klines", "startTime"), "coinbase": ("candles", "start")}
#: Subjects that are named.
_SHOWN = 5


def lacking_before(
    provider: str, asked: Iterable[tuple[str, str]], entries: Iterable[Entry], since: date
) -> str | None:
    """One line for histories that were never asked for from `since` on; None where there are none.

    Args:
        provider: its name.
        asked: endpoints and subjects of this collection.
        entries: of the whole journal; read until each history was asked for from `since` on.
        since: first day that is wanted.

    """
    endpoint, parameter = _GOING_ON.get(provider, ("", ""))
    left = {subject.split(" ")[0] for of, subject in asked if of == endpoint}
    begun: dict[str, date] = {}
    for entry in entries if left else ():
        subject = entry.subject.split(" ")[0]
        if entry.endpoint != endpoint or subject not in left or entry.outcome not in ("rows", "nothing"):
            continue
        told = httpx.URL(entry.url).params.get(parameter)
        if told is None:
            continue
        first = _day(told)
        begun[subject] = min(first, begun.get(subject, first))
        if first <= since:
            left.discard(subject)
            if not left:
                break
    later = sorted(left & set(begun))
    if not later:
        return None
    more = f" and {len(later) - _SHOWN} more" if len(later) > _SHOWN else ""
    return (
        f"{provider}: days from {since} to {max(begun[each] for each in later)} are not asked for of "
        f"{', '.join(later[:_SHOWN])}{more}: a history that was begun later goes on from its newest day; for an "
        "earlier one set another collecting.folder"
    )


def never_asked_since(provider: str, subjects: Iterable[str], entries: Iterable[Entry], since: date) -> set[str]:
    """Which histories were never asked for from a day on.

    Args:
        provider: its name.
        subjects: whose.
        entries: of the whole journal; read until each was, and not at all for none.
        since: the day.

    """
    endpoint, parameter = _GOING_ON[provider]
    left = set(subjects)
    for entry in entries if left else ():
        if entry.endpoint == endpoint and entry.subject in left and entry.outcome in ("rows", "nothing"):
            told = httpx.URL(entry.url).params.get(parameter)
            if told is not None and _day(told) <= since:
                left.discard(entry.subject)
                if not left:
                    break
    return left


def _day(told: str) -> date:
    """A day as the providers' parameters tell it: written, or in milliseconds since 1970."""
    return datetime.fromtimestamp(int(told) / 1_000, UTC).date() if told.isdigit() else date.fromisoformat(told[:10])
