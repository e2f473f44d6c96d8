"""The protocol of a scorer of texts, and the verification of its files. No scorer is implemented here."""

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

#: Labels of a text, in the order of the columns of all probabilities.
LABELS = ("negative", "neutral", "positive")


class Scorer(Protocol):
    """Computes the probabilities that a text is negative, neutral or positive; each text independently.

    Attributes:
        name: name of its kind.
        sha256: of its files.
        trained_through: last day in New York that it may know anything about: from its training and its selection. The
            score of a text known by then looks ahead.

    """

    @property
    def name(self) -> str: ...  # noqa: D102  (documented above)

    @property
    def sha256(self) -> str: ...  # noqa: D102

    @property
    def trained_through(self) -> date: ...  # noqa: D102

    def scores(self, texts: Sequence[str]) -> FloatArray:
        """Probabilities of shape (n_texts, 3), in the order of `LABELS`; they do not depend on the other texts."""


@dataclass(frozen=True)
class Origin:
    """Inputs for opening a scorer.

    Attributes:
        kind: name of its kind.
        path: path of its file or folder; None if it needs none.
        sha256: expected hash of its files; None where unspecified, which is only allowed for inspecting files.
        trained_through: from the settings; None if the file has it.

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
        """The error that its files cannot be used."""
        return ModelFileError(f"{self.said}: {why}")

    def file(self) -> bytes:
        """Content of its single file.

        Raises:
            ModelFileError: it cannot be read or has another hash; nothing was loaded.

        """
        if self.path is None:
            raise self.refuse("it needs a file; name it in sentiment.path")
        return self._read(self.path)

    def files(self, *names: str) -> dict[str, bytes]:
        """Contents of the files in its folder.

        Raises:
            ModelFileError: one cannot be read, or the hash differs; nothing was loaded.

        """
        if self.path is None:
            raise self.refuse("it needs a folder; name it in sentiment.path")
        contents = {name: self._content(self.path / name) for name in names}
        self._verify(sha256_of_files(contents))
        return contents

    def _read(self, path: Path) -> bytes:
        content = self._content(path)
        self._verify(sha256(content))
        return content

    def _content(self, path: Path) -> bytes:
        try:
            return path.expanduser().read_bytes()
        except OSError as error:
            raise self.refuse(f"{path} cannot be read ({error.strerror}); fix sentiment.path") from None

    def _verify(self, digest: str) -> None:
        if self.sha256 is not None and digest != self.sha256:
            raise self.refuse(
                f"its files have SHA-256 {digest[:VERSION_LENGTH]}…, sentiment.sha256 says "
                f"{self.sha256[:VERSION_LENGTH]}…; nothing was loaded: restore them, or write their hash"
            )

    def told_date(self) -> date:
        """`trained_through` from the settings, where they must have it.

        Raises:
            ModelFileError: they do not have it.

        """
        if self.trained_through is None:
            raise self.refuse(
                "its files do not say until when it was trained; set sentiment.trained_through, including the texts of "
                "its language model"
            )
        return self.trained_through


def sha256_of_files(files: Mapping[str, bytes]) -> str:
    """SHA-256 of the output of `sha256sum` for the files, sorted by name."""
    lines = (f"{sha256(content)}  {name}\n" for name, content in sorted(files.items()))
    return sha256("".join(lines).encode())


def in_our_order(names: Sequence[str], origin: Origin) -> list[int]:
    """Positions of `LABELS` among a model's labels.

    Raises:
        ModelFileError: the labels are not these three words.

    """
    labels = [str(name).strip().lower() for name in names]
    if sorted(labels) != sorted(LABELS):
        raise origin.refuse(f"its labels are {', '.join(labels) or 'none'}; they must be {', '.join(LABELS)}")
    return [labels.index(name) for name in LABELS]


def softmax(logits: FloatArray) -> FloatArray:
    """Probabilities of each row."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float64)
