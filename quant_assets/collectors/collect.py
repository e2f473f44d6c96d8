"""One collection: asks, stores answers unchanged, reads them into tables, and goes on with the rest after a failure."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from quant_assets.collectors.answers import Answer, Broken, Exhausted, Nothing, Refused, Rows
from quant_assets.collectors.base import Collector, Question, Wanted
from quant_assets.collectors.http import Clock, Received
from quant_assets.collectors.raw_store import Entry, Position, RawStore
from quant_assets.collectors.tables import FETCHED_AT, Change, Tables

#: Number of answers after which they are read into the tables.
_TOGETHER = 500
#: Consecutive broken answers after which the provider counts as down.
_BROKEN_IN_A_ROW = 5

#: What a collection that ends early leaves to do.
_GOES_ON = "the same command goes on from there"

#: Number of named subjects without an answer.
_SHOWN = 5

#: Called with the question and answer after each answer.
Progress = Callable[[Question, Answer], None]

#: Called with a one-line message for the user.
Tell = Callable[[str], None]


@dataclass
class Summary:
    """Result of a collection.

    Attributes:
        provider: its name.
        asked: number of answers, without skipped questions.
        outcomes: number of each: rows, nothing, refused, exhausted, broken, skipped.
        changes: of the tables.
        unknown: subjects unknown to the provider.
        said: one line for each message to the user, with the remedy.
        ended: why it ended before all questions were asked; None where it did not end early.
        left: the rest of the provider's long limits, in words; empty where there are none.

    """

    provider: str
    asked: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    changes: list[Change] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    ended: str | None = None
    left: str = ""

    @property
    def new(self) -> dict[str, int]:
        """Facts that were unknown before, by table."""
        return self._new("market")

    @property
    def missing(self) -> dict[str, int]:
        """Facts that the provider lacks but should have, and that were not missing before; by table."""
        counts = self._new("missing")
        return {name: count for name, count in counts.items() if count}

    def _new(self, of: str) -> dict[str, int]:
        counts = Counter[str]()
        for change in self.changes:
            if change.of == of:
                counts[change.table] += change.new
        return dict(counts)

    @property
    def complete(self) -> bool:
        """Whether every question was asked and every answer was `Rows` or `Nothing`."""
        return self.ended is None and set(self.outcomes) <= {"rows", "nothing"}

    @property
    def revised(self) -> dict[str, int]:
        """Versions that replace others, by table."""
        counts = Counter[str]()
        for change in self.changes:
            counts[change.table] += len(change.revised) if change.of == "market" else 0
        return {name: count for name, count in counts.items() if count}


def collect(
    collector: Collector,
    raw: RawStore,
    tables: Tables,
    since: date,
    closed: datetime,
    clock: Clock,
    progress: Progress = lambda *_: None,
    a_day: int | None = None,
) -> Summary:
    """Ask a provider for everything in the settings.

    Args:
        collector: of the provider.
        raw: store of the unchanged answers.
        tables: tables for the answers. Answers that an earlier collection stored and did not read are read first.
        since: first day of histories.
        closed: when the last session's prices were published.
        clock: clock of pace, retries and times of collection.
        progress: called after each answer.
        a_day: greatest number of answers in 24 hours; the collection ends there, and nothing is asked in vain.

    Raises:
        SettingsError: a key is missing.
        SourceError: the stores cannot be read or written.

    """
    summary = Summary(collector.name)
    summary.changes += read_up(collector, raw, tables, summary.said.append)
    answered = newest_answers(raw.entries(since=closed.date()))
    scope = Wanted(since, clock.now(), tables, answered, closed, lambda day: raw.entries(since=day))
    refused: dict[str, Refused] = {}
    waiting, broken, before = 0, 0, sent(raw, clock)
    with collector.client(clock) as client:
        client.count(entry.at for entry in raw.entries(since=clock.now().date() - timedelta(days=1)))
        asking = collector.questions(scope)
        question = next(asking, None)
        while question is not None:
            answer: Answer
            if question.endpoint in refused:
                answer = refused[question.endpoint]
                summary.outcomes["skipped"] += 1
            elif a_day is not None and before + summary.asked >= a_day:
                summary.ended = f"the day's {a_day:,} requests are used; what came is kept, and {_GOES_ON}"
                asking.close()
                break
            else:
                received = client.get(question.path, question.parameters)
                answer = _kept(collector, raw, question, received)
                summary.asked += 1
                summary.outcomes[outcome(answer)] += 1
                waiting += 1
                _say(summary, refused, question, answer)
            progress(question, answer)
            broken = broken + 1 if isinstance(answer, Broken) else 0
            summary.ended = _end(collector.name, question, answer, broken)
            if waiting >= _TOGETHER:
                summary.changes += read_up(collector, raw, tables, summary.said.append)
                waiting = 0
            if summary.ended:
                asking.close()
                break
            try:
                question = asking.send(answer)
            except StopIteration:
                question = None
        summary.left = client.left
        if a_day is not None:
            summary.left = f"{max(0, a_day - before - summary.asked):,} of {a_day:,} requests in 24 h"
    summary.changes += read_up(collector, raw, tables, summary.said.append)
    return summary


def sent(raw: RawStore, clock: Clock) -> int:
    """Number of answers of the last 24 hours."""
    begin = clock.now() - timedelta(days=1)
    return sum(entry.at > begin for entry in raw.entries(since=begin.date()))


def read_up(collector: Collector, raw: RawStore, tables: Tables, tell: Tell = lambda _: None) -> list[Change]:
    """Read the answers of the journal that the tables lack, whatever their outcome when they were fetched.

    Args:
        collector: reader of the answers.
        raw: store of the answers.
        tables: tables for the answers.
        tell: called with one line about answers that had rows when they were fetched and have none for this version.

    """
    changes, lost, first = list[Change](), 0, ""
    for group in _grouped(raw.after(tables.read_through)):
        rows: dict[str, list[pl.DataFrame]] = {}
        for _, entry in group:
            if not entry.whole:
                continue
            answer = _read(collector, entry.endpoint, entry.subject, _again(raw, entry))
            if isinstance(answer, Rows):
                for name, frame in answer.payload.items():
                    at = pl.lit(entry.at).cast(pl.Datetime("us", "UTC")).alias(FETCHED_AT)
                    rows.setdefault(name, []).append(frame.with_columns(at))
            elif entry.outcome == "rows":
                first = first or f"{entry.endpoint} of {entry.subject} on {entry.at:%Y-%m-%d} ({answer.why})"
                lost += 1
        changes += tables.append({name: pl.concat(frames) for name, frames in rows.items()}, group[-1][0])
    if lost:
        tell(
            f"{collector.name}: {lost} kept answer{'' if lost == 1 else 's'} had rows and cannot be read any more, "
            f"first {first}; fix the reader, then quant collect replay"
        )
    return changes


def replay(collector: Collector, raw: RawStore, tables: Tables, tell: Tell = lambda _: None) -> list[Change]:
    """Make the tables again from all stored answers, without network access. `tell` is that of `read_up`.

    The old tables stay until all answers have been read, also if the process ends before.
    """
    again = tables.anew()
    changes = read_up(collector, raw, again, tell)
    again.replace()
    return changes


def newest_answers(entries: Iterable[Entry]) -> Mapping[tuple[str, str], Entry]:
    """The newest answer that is a statement about the market, by endpoint and subject."""
    return {(entry.endpoint, entry.subject): entry for entry in entries if entry.outcome in ("rows", "nothing")}


def outcome(answer: Answer) -> str:
    """Its name in the journal."""
    return type(answer).__name__.lower()


def _kept(collector: Collector, raw: RawStore, question: Question, received: Received) -> Answer:
    """Store an answer with its outcome, which a replay must reproduce."""
    answer: Answer
    if received.failure:
        answer = Broken(received.failure)
    else:
        answer = _read(collector, question.endpoint, question.subject, received)
    why = "" if isinstance(answer, Rows) else answer.why
    raw.keep(question.endpoint, question.subject, received, outcome(answer), why)
    return answer


def _read(collector: Collector, endpoint: str, subject: str, received: Received) -> Answer:
    """The meaning of an answer. A reader that fails is a bug here: the answer is kept, and the others go on."""
    try:
        return collector.read(endpoint, subject, received)
    except Exception as error:  # noqa: BLE001  (a reader that raises has a fault of any kind)
        message = " ".join(str(error).split())[:160]
        return Broken(
            f"the reader of {collector.name} failed, {type(error).__name__}: {message}; it begins {received.shown}"
        )


def _again(raw: RawStore, entry: Entry) -> Received:
    return Received(entry.url, entry.status, entry.headers, raw.body(entry), entry.at)


def _grouped(entries: Iterator[tuple[Position, Entry]]) -> Iterator[list[tuple[Position, Entry]]]:
    group: list[tuple[Position, Entry]] = []
    for item in entries:
        group.append(item)
        if len(group) == _TOGETHER:
            yield group
            group = []
    if group:
        yield group


def _say(summary: Summary, refused: dict[str, Refused], question: Question, answer: Answer) -> None:
    """Record what goes beyond one question."""
    where = f"{summary.provider}, {question.endpoint} of {question.subject}"
    if isinstance(answer, Refused):
        summary.said.append(f"{where}: refused ({answer.why}); {answer.remedy}")
        if answer.scope == "endpoint":
            refused[question.endpoint] = answer
    elif isinstance(answer, Nothing):
        summary.unknown.append(question.subject)
    elif isinstance(answer, Broken):
        summary.said.append(f"{where}: no usable answer ({answer.why}); the next collection asks again")
    elif isinstance(answer, Exhausted):
        until = f", until {answer.until.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if answer.until else ""
        summary.said.append(f"{where}: the quota is used up{until} ({answer.why})")


def _end(provider: str, question: Question, answer: Answer, broken: int) -> str | None:
    """Why no further question is asked; None where the collection goes on."""
    if isinstance(answer, Exhausted):
        return f"the quota is used up; what came is kept, and {_GOES_ON}"
    if isinstance(answer, Refused) and answer.scope == "provider":
        return f"{provider} refuses everything: {answer.remedy}"
    if broken >= _BROKEN_IN_A_ROW:
        return f"{broken} answers one after the other could not be used, the last one of {question.subject}; try later"
    return None


def said(summary: Summary) -> list[str]:
    """The summary in lines, with required actions last."""
    counts = ", ".join(f"{count} {name}" for name, count in summary.outcomes.items() if count)
    new = ", ".join(f"{count} {name}" for name, count in summary.new.items()) or "nothing"
    head = f"{summary.provider}: {summary.asked} answers ({counts or 'nothing was to be asked'}); new: {new}"
    for label, by_table in (("revised", summary.revised), ("missing", summary.missing)):
        if by_table:
            head += f"; {label}: {', '.join(f'{count} {name}' for name, count in by_table.items())}"
    lines = [f"{summary.provider}: left of its limits {summary.left}"] if summary.left else []
    if summary.unknown:
        more = len(summary.unknown) - _SHOWN
        names = f"{', '.join(summary.unknown[:_SHOWN])}{f' and {more} more' if more > 0 else ''}"
        lines.append(f"{summary.provider}: nothing is known of {names}; what is stored of them stays")
    return [head, *lines, *summary.said, *filter(None, [summary.ended])]


def rows_of(frames: Mapping[str, pl.DataFrame], nothing: str) -> Answer:
    """`Rows` of the frames, or `Nothing` where no frame has a row."""
    payload: Any = {name: frame for name, frame in frames.items() if len(frame)}
    return Rows(payload) if payload else Nothing(nothing)
