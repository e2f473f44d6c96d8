"""Interface of a collector: its questions to a provider and its reader of the answers. No network, no files."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Protocol

from quant_assets.collectors.answers import Answer
from quant_assets.collectors.http import Client, Clock, Received
from quant_assets.collectors.raw_store import Entry
from quant_assets.collectors.tables import Table, Tables


@dataclass(frozen=True)
class Question:
    """One request.

    Attributes:
        endpoint: kind of request, in this project's words; a refusal may apply to all of it.
        subject: a ticker, a series, a search; progress and messages name it.
        path: path below the base address.
        parameters: parameters of the query.

    """

    endpoint: str
    subject: str
    path: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """Scope and state of a collection.

    Attributes:
        since: first day of histories.
        now: when the collection began, UTC.
        tables: data collected so far.
        answered: newest answer with rows or nothing since the day of the last session, by endpoint and subject. Answers
            since `closed` need not be requested again: so an interrupted collection goes on.
        closed: when the last session's prices were published, UTC.
        entries: function that returns the journal since a day, for collectors that need more than `answered`.

    """

    since: date
    now: datetime
    tables: Tables
    answered: Mapping[tuple[str, str], Entry]
    closed: datetime
    entries: Callable[[date], Iterable[Entry]] = lambda _: ()

    def is_done(self, endpoint: str, subject: str, outcome: str | None = None) -> bool:
        """Whether this was answered since the last session closed; with an outcome, whether with that outcome."""
        entry = self.answered.get((endpoint, subject))
        return entry is not None and entry.at >= self.closed and outcome in (None, entry.outcome)


#: Yields questions and is sent the answers. For a question that was not asked, because its endpoint was refused, it is
#: sent that refusal.
Questions = Generator[Question, Answer, None]


class Collector(Protocol):
    """One provider. It has a file in this package, settings, and a name in `collectors.registry`."""

    @property
    def name(self) -> str:
        """Name of the provider, its folder and its settings."""
        ...

    @property
    def tables(self) -> Sequence[Table]:
        """Tables for its answers."""
        ...

    def client(self, clock: Clock) -> Client:
        """The HTTP client of the provider.

        Raises:
            SettingsError: a key is missing; names the environment variable and where to get a key.

        """
        ...

    def questions(self, wanted: Wanted) -> Questions:
        """The questions of one collection, in order; those on which others depend come first."""
        ...

    def planned(self, wanted: Wanted) -> int:
        """Expected number of questions, as far as it is known beforehand: the length of a progress bar."""
        ...

    def read(self, endpoint: str, subject: str, received: Received) -> Answer:
        """The meaning of an answer. It depends on the answer alone: a replay reads it the same way.

        Returns:
            `Rows` with frames by table, without `fetched_at`, as its payload (`collect.rows_of`); or another answer.

        """
        ...
