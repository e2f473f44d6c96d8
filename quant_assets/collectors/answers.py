"""Kinds of answers of a provider: rows, nothing known, refused, exhausted or broken.

Only `Rows` and `Nothing` are statements about the market, and only they change stored data. The others are reported in
one line with a remedy, and the collection goes on with the rest. An empty or broken answer is never a delisting.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Rows:
    """The provider has data.

    Attributes:
        payload: the parsed answer: a frame, or the decoded JSON.

    """

    payload: Any


@dataclass(frozen=True)
class Nothing:
    """The provider has no data on the question, and says so itself.

    Attributes:
        why: in its words, or as its answer shows.

    """

    why: str


@dataclass(frozen=True)
class Refused:
    """The key or the plan does not allow the question, or the provider does not answer such questions.

    Attributes:
        why: in its words.
        remedy: what the user can do.
        scope: what else would be refused: only this `question`, every question of the `endpoint`, or everything of the
            `provider` (a wrong key).

    """

    why: str
    remedy: str
    scope: str = "question"


@dataclass(frozen=True)
class Exhausted:
    """A quota is used up; more questions would get the same answer, or lead to a ban.

    Attributes:
        why: in its words.
        until: when questions are allowed again; None where unknown.

    """

    why: str
    until: datetime | None = None


@dataclass(frozen=True)
class Broken:
    """No answer, or one that cannot be parsed: HTML, cut off, another shape than documented.

    Attributes:
        why: the error, with the first characters of the answer.

    """

    why: str


Answer = Rows | Nothing | Refused | Exhausted | Broken
