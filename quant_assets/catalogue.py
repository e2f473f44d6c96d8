"""The catalogue of a profile: its features and its datasets, from the settings.

The IO manager, the asset checks, the column schemas and descriptions in the web UI and the README's table are all derived from it.
`python -m quant_assets.catalogue README.md` writes the table of datasets into a Markdown file, between its two marks.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from quant_assets.features.library import FeatureLibrary, ready_made
from quant_assets.schemas import DATASETS, Dataset
from quant_assets.settings import Settings, load_settings
from quant_assets.signals import indicators

#: Datasets before which those with declared columns stand: the order is that of the flow.
_INDICATORS_BEFORE, _FEATURES_BEFORE = "candidates", "labels"

START, END = "<!-- datasets: written by `make docs` -->", "<!-- /datasets -->"


def library(settings: Settings) -> FeatureLibrary:
    """The features of a profile.

    Raises:
        SettingsError: a set does not exist, or its features and the user's do not fit together; names set or module and the remedy.

    """
    return FeatureLibrary({name: ready_made(name) for name in settings.features.sets})


def datasets(settings: Settings, features: FeatureLibrary) -> dict[str, Dataset]:
    """Every dataset of a profile by name, in the order of the flow."""
    declared = {
        _INDICATORS_BEFORE: (indicators.dataset(settings.indicators),),
        _FEATURES_BEFORE: (features.dataset, *features.market_datasets),
    }
    ordered: list[Dataset] = []
    for dataset in DATASETS.values():
        ordered += declared.get(dataset.name, ())
        ordered.append(dataset)
    return {dataset.name: dataset for dataset in ordered}


def markdown_table(shown: Iterable[Dataset]) -> str:
    """The README's table of datasets (`make docs` puts it there)."""
    lines = ["| dataset | grain | what it holds | key | known at |", "|---|---|---|---|---|"]
    for dataset in shown:
        grain = "sector × month" if dataset.grain == "sector" else "month"
        lines.append(f"| `{dataset.name}` | {grain} | {dataset.meaning} | {', '.join(dataset.key)} | `{dataset.known_at}` |")
    return "\n".join(lines)


def with_table(text: str, shown: Mapping[str, Dataset]) -> str:
    """The text with the table of datasets between the marks."""
    return re.sub(f"{START}.*{END}", lambda _: f"{START}\n{markdown_table(shown.values())}\n{END}", text, flags=re.DOTALL)


if __name__ == "__main__":
    page, chosen = Path(sys.argv[1]), load_settings("demo")
    page.write_text(with_table(page.read_text(encoding="utf-8"), datasets(chosen, library(chosen))), encoding="utf-8")
