"""Body of `quant collect`: each provider in turn, what it brought, and what the user must do."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date

from quant_assets.cli.screen import Counter, show
from quant_assets.collectors.collect import Summary, said
from quant_assets.collectors.collection import Collection
from quant_assets.errors import InterruptedRunError, SettingsError
from quant_assets.profile import Profile


def collected(profile: Profile, providers: Sequence[str], since: str | None) -> bool:
    """Collect, and show how far it is and what came of it.

    Args:
        profile: whose settings say what is wanted.
        providers: all that the settings ask for anything where there are none.
        since: first day of what was never collected, YYYY-MM-DD.

    Returns:
        Whether every question was answered by something of the market.

    Raises:
        SettingsError: an option is not valid, nothing is to be collected, or a key is missing.
        SourceError: what is stored cannot be read or written.
        InterruptedRunError: the user interrupted it.

    """
    collection = _since(profile.collection, since)
    complete, lacking = True, list[str]()
    for name in collection.named(providers):
        try:
            summary = _counted(collection, name)
        except SettingsError as error:  # a provider without its key is not another's
            lacking.append(str(error))
            continue
        except KeyboardInterrupt:
            raise InterruptedRunError(
                f"interrupted while {name} was asked; what came is kept, and the same command goes on from there"
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
    """What `collected` would ask; nobody is asked."""
    collection = _since(profile.collection, since)
    for name in collection.named(providers):
        questions = collection.planned(name)
        yield f"{name}: about {questions:,} question{'' if questions == 1 else 's'}, since {collection.since}"
    yield f"kept in {collection.settings.path}; nothing was asked (--dry-run)"


def replayed(profile: Profile, providers: Sequence[str]) -> Iterator[str]:
    """Make the tables again, and say what is in them."""
    collection = profile.collection
    for name in collection.named(providers):
        lost = list[str]()
        changes = collection.replay(name, lost.append)
        counts: dict[str, tuple[int, int]] = {}
        for each in changes:
            new, revised = counts.get(each.table, (0, 0))
            counts[each.table] = (new + each.new, revised + len(each.revised))
        told = "; ".join(f"{table}: {new} facts, revised {revised} times" for table, (new, revised) in counts.items())
        yield f"{name}: {told or 'no answer was kept'}"
        yield from lost


def _since(collection: Collection, given: str | None) -> Collection:
    if given is None:
        return collection
    try:
        return replace(collection, since=date.fromisoformat(given))
    except ValueError:
        raise SettingsError(f"'{given}' is not a day; write --since as YYYY-MM-DD, for example 2015-01-01") from None
