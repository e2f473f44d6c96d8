"""What a scorer of texts is, and how the files that it is made of are verified. No scorer is written here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from quant_assets.errors import ModelFileError
from quant_assets.learning.model_files import VERSION_LENGTH, sha256

FloatArray = NDArray[np.float64]

#: What a text can say, in the order of the columns of all probabilities.
LABELS = ("negative", "neutral", "positive")


class Scorer(Protocol):
    """Gives how probable it is that a text is negative, neutral or positive; each text by itself.

    Attributes:
        name: of its kind.
        sha256: of the files that it is made of.
        trained_through: the last day of which it may know anything, in New York: what it was trained on, and what it
            was chosen by. A score of a text that was known by then looks ahead.

    """

    @property
    def name(self) -> str: ...  # noqa: D102  (said above)

    @property
    def sha256(self) -> str: ...  # noqa: D102

    @property
    def trained_through(self) -> date: ...  # noqa: D102

    def scores(self, texts: Sequence[str]) -> FloatArray:
        """Probabilities of shape (n_texts, 3), in the order of `LABELS`; they do not depend on the other texts."""


@dataclass(frozen=True)
class Origin:
    """What a scorer is opened with.

    Attributes:
        kind: name of its kind.
        path: of its file or folder; None for one that needs none.
        sha256: that its files must have; None where nobody has said it, which only those who look at files may.
        trained_through: what the settings say of it; None where its file does.

    """

    kind: str
    path: Path | None = None
    sha256: str | None = None
    trained_through: date | None = None

    @property
    def said(self) -> str:
        """For messages."""
        return f"scorer {self.kind}" + (f" of {self.path}" if self.path else "")

    def refuse(self, why: str) -> ModelFileError:
        """The error that a file of it cannot be used."""
        return ModelFileError(f"{self.said}: {why}")

    def file(self) -> bytes:
        """Content of the one file that it is made of.

        Raises:
            ModelFileError: it cannot be read, or is another; nothing of it was loaded.

        """
        if self.path is None:
            raise self.refuse("it needs a file; name it in sentiment.path")
        return self._read(self.path)

    def files(self, *names: str) -> dict[str, bytes]:
        """Contents of the files of its folder.

        Raises:
            ModelFileError: one cannot be read, or they are others; nothing of them was loaded.

        """
        if self.path is None:
            raise self.refuse("it needs a folder; name it in sentiment.path")
        found = {name: self._content(self.path / name) for name in names}
        self._verify(sha256_of_files(found))
        return found

    def _read(self, path: Path) -> bytes:
        content = self._content(path)
        self._verify(sha256(content))
        return content

    def _content(self, path: Path) -> bytes:
        try:
            return path.expanduser().read_bytes()
        except OSError as error:
            raise self.refuse(f"{path} cannot be read ({error.strerror}); mend sentiment.path") from None

    def _verify(self, found: str) -> None:
        if self.sha256 is not None and found != self.sha256:
            raise self.refuse(
                f"its files have SHA-256 {found[:VERSION_LENGTH]}…, sentiment.sha256 says "
                f"{self.sha256[:VERSION_LENGTH]}…; nothing was loaded: restore them, or write their hash"
            )

    def told_date(self) -> date:
        """`trained_through` where the settings must say it.

        Raises:
            ModelFileError: they do not.

        """
        if self.trained_through is None:
            raise self.refuse(
                "its files do not say until when it was trained; say it in sentiment.trained_through, texts that its "
                "language model was trained on included"
            )
        return self.trained_through


def sha256_of_files(files: Mapping[str, bytes]) -> str:
    """SHA-256 of what `sha256sum` lists of files, sorted by name."""
    lines = (f"{sha256(content)}  {name}\n" for name, content in sorted(files.items()))
    return sha256("".join(lines).encode())


def in_our_order(names: Sequence[str], origin: Origin) -> list[int]:
    """Where `LABELS` stand among the labels of a model, whatever their order.

    Raises:
        ModelFileError: they are not these three words.

    """
    found = [str(name).strip().lower() for name in names]
    if sorted(found) != sorted(LABELS):
        raise origin.refuse(f"its labels are {', '.join(found) or 'none'}; they must be {', '.join(LABELS)}")
    return [found.index(name) for name in LABELS]


def softmax(logits: FloatArray) -> FloatArray:
    """Probabilities of each row."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float64)
