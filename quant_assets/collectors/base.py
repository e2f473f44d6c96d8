"""What a collector is: the questions that it asks a provider, and how it reads the answers. No network, no files."""

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
        endpoint: what is asked for, in this project's words; a refusal may hold for all of it.
        subject: what it is about: a ticker, a series, a search. Progress and messages name it.
        path: below the base address.
        parameters: of the query.

    """

    endpoint: str
    subject: str
    path: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """What is to be collected.

    Attributes:
        since: first day of what has never been collected.
        now: when the collection began, UTC.
        tables: what has been collected so far.
        answered: newest answer with rows or nothing since the day of the last session, by endpoint and subject. What
            was answered since that closed need not be asked again: so a collection that was interrupted goes on.
        closed: when the last session's prices were published, UTC.
        entries: gives the journal since a day, for who must know more of it than `answered`.

    """

    since: date
    now: datetime
    tables: Tables
    answered: Mapping[tuple[str, str], Entry]
    closed: datetime
    entries: Callable[[date], Iterable[Entry]] = lambda _: ()

    def is_done(self, endpoint: str, subject: str, outcome: str | None = None) -> bool:
        """Whether this was answered since the last session closed; with an outcome, whether by that one."""
        entry = self.answered.get((endpoint, subject))
        return entry is not None and entry.at >= self.closed and outcome in (None, entry.outcome)


#: Yields questions, is sent what each answer amounts to. Of a question that was not asked, because its endpoint has
#: been refused, it is sent that refusal.
Questions = Generator[Question, Answer, None]


class Collector(Protocol):
    """One provider. Each has a file of this package, its settings, and its name in `collectors.registry`."""

    @property
    def name(self) -> str:
        """Of the provider, its folder and its settings."""
        ...

    @property
    def tables(self) -> Sequence[Table]:
        """What its answers are read into."""
        ...

    def client(self, clock: Clock) -> Client:
        """What asks.

        Raises:
            SettingsError: a key is missing; names the variable of the environment and where to get one.

        """
        ...

    def questions(self, wanted: Wanted) -> Questions:
        """The questions of one collection, in order; those on which others depend first."""
        ...

    def planned(self, wanted: Wanted) -> int:
        """How many questions that will be, as far as it can be told before: the length of a progress bar."""
        ...

    def read(self, endpoint: str, subject: str, received: Received) -> Answer:
        """What an answer to a question amounts to. It follows from the answer alone: a replay reads it the same way.

        Returns:
            `Rows` with frames by table, without `fetched_at`, as its payload (`collect.rows_of`); or one of the others.

        """
        ...
