"""What a provider's answer amounts to: rows, nothing known, refused, exhausted or broken.

Only `Rows` and `Nothing` say anything of the market, and only they change stored data. The others are told in one line
with what to do, and the collection goes on with the rest. An empty or broken answer is never a delisting.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Rows:
    """The provider has something.

    Attributes:
        payload: the parsed answer: a frame, or the decoded JSON.

    """

    payload: Any


@dataclass(frozen=True)
class Nothing:
    """The provider knows nothing of what was asked for, and says so itself.

    Attributes:
        why: in its words, or in what its answer shows.

    """

    why: str


@dataclass(frozen=True)
class Refused:
    """The key or the plan does not allow it, or the question is one that the provider does not answer.

    Attributes:
        why: in its words.
        remedy: what the user can do.
        scope: what else would be refused: this `question` alone, every question of the `endpoint`, or everything of the
            `provider` (a wrong key).

    """

    why: str
    remedy: str
    scope: str = "question"


@dataclass(frozen=True)
class Exhausted:
    """A quota is used up; more questions would be answered the same way, or lead to a ban.

    Attributes:
        why: in its words.
        until: when it may be asked again; None where it does not say.

    """

    why: str
    until: datetime | None = None


@dataclass(frozen=True)
class Broken:
    """No answer, or one that cannot be understood: HTML, cut off, another shape than documented.

    Attributes:
        why: what is wrong with it, with the first characters of what came.

    """

    why: str


Answer = Rows | Nothing | Refused | Exhausted | Broken
