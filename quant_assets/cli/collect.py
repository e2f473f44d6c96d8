"""Body of `quant collect`: requests to the providers one after the other, their answers, and remedies."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date

from quant_assets.cli.screen import Counter, show
from quant_assets.collectors.collect import Summary, said
from quant_assets.collectors.collection import Collection
from quant_assets.errors import InterruptedRunError, SettingsError, UsageError
from quant_assets.profile import Profile


def collected(profile: Profile, providers: Sequence[str], since: str | None) -> bool:
    """Collect, and show the progress and the result.

    Args:
        profile: its settings name the data to collect.
        providers: names; empty for all that the settings use.
        since: first day of histories, YYYY-MM-DD.

    Returns:
        Whether every request got a usable answer.

    Raises:
        SettingsError: an option is not valid, nothing is to be collected, or a key is missing.
        SourceError: the collection cannot be read or written.
        InterruptedRunError: the user interrupted it.

    """
    collection = _since(profile.collection, since)
    complete, lacking = True, list[str]()
    for name in collection.named(providers):
        try:
            summary = _counted(collection, name)
        except SettingsError as error:  # the others go on without this provider's key
            lacking.append(str(error))
            continue
        except KeyboardInterrupt:
            raise InterruptedRunError(
                f"interrupted during the requests to {name}; its answers are kept, and the same command continues"
            ) from None
        complete &= summary.complete
        for line in said(summary):
            show(line)
    if lacking:
        raise SettingsError("\n".join(lacking))
    return complete


def _counted(collection: Collection, name: str) -> Summary:
    with Counter(f"answers of {name}", max(1, collection.planned(name))) as counter:
        return collection.collect(name, lambda question, _: counter.advance(question.subject))


def planned(profile: Profile, providers: Sequence[str], since: str | None) -> Iterator[str]:
    """The number of requests that `collected` would send."""
    collection = _since(profile.collection, since)
    for name in collection.named(providers):
        questions = collection.planned(name)
        a_day, left = collection.requests_a_day(name), ""
        if a_day is not None:
            now = max(0, a_day - collection.sent(name))
            days = 1 + -(-max(0, questions - now) // a_day)
            left = f"; {now:,} of the plan's {a_day:,} a day are left: {days} day{'' if days == 1 else 's'}"
        yield f"{name}: about {questions:,} request{'' if questions == 1 else 's'}, since {collection.since}{left}"
    yield f"kept in {collection.settings.path}; nothing was requested (--dry-run)"


def replayed(profile: Profile, providers: Sequence[str]) -> Iterator[str]:
    """Rebuild the tables, and print the number of facts in them."""
    collection = profile.collection
    for name in collection.named(providers):
        lost = list[str]()
        changes = collection.replay(name, lost.append)
        counts: dict[str, tuple[int, int]] = {}
        for change in changes:
            new, revised = counts.get(change.table, (0, 0))
            counts[change.table] = (new + change.new, revised + len(change.revised))
        lines = (f"{table}: {new} facts, revised {revised} times" for table, (new, revised) in counts.items())
        yield f"{name}: {'; '.join(lines) or 'no answer was kept'}"
        yield from lost


def _since(collection: Collection, day: str | None) -> Collection:
    if day is None:
        return collection
    try:
        return replace(collection, since=date.fromisoformat(day))
    except ValueError:
        raise UsageError(f"'{day}' is not a day; write --since as YYYY-MM-DD, for example 2015-01-01") from None
