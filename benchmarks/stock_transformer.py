"""The stock Transformer with and without pre-training against simpler models, on the published NASDAQ benchmark.

    python -m benchmarks.stock_transformer --data FILE --into FOLDER [--seeds 5]
    [--models linear,lightgbm,rank_lstm,transformer,transformer_pretrained] [--hidden-size 128] [--epochs 3] …

FILE is `nasdaq_1026.parquet`: daily bars of 1,026 NASDAQ stocks, 2012-11 to 2017-12. Outcomes of 2013 to 2015 train,
those of 2016 stop the training, those of 2017 (to December 8) judge. Every (model, seed) is a JSON file in FOLDER, and
a training that was interrupted goes on at its last good epoch, so the same call goes on where the last one ended. The
table has means over the seeds and their deviation; FOLDER/results.json has all figures.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from benchmarks.stock_options import MODELS, WITHOUT_DRAWS, Options

#: Figures of the table, by their headings.
SHOWN = {
    "IC": "ic",
    "rank IC": "rank_ic",
    **{f"top {k} return": f"top_{k}_cumulative" for k in (1, 5, 10)},
    **{f"top {k} Sharpe": f"top_{k}_sharpe" for k in (1, 5, 10)},
}


def main() -> None:
    """Compute what is missing, seed by seed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--table", action="store_true", help="print what there is and compute nothing")
    for each in fields(Options):
        parser.add_argument(f"--{each.name.replace('_', '-')}", type=type(each.default), default=each.default)
    given = parser.parse_args()
    names = given.models.split(",")
    if unknown := sorted({*names} - {*MODELS}):
        parser.error(f"there is no model '{unknown[0]}'; choose among {', '.join(MODELS)}")
    options = Options(**{each.name: getattr(given, each.name) for each in fields(Options)})
    given.into.mkdir(parents=True, exist_ok=True)
    told = given.into / "options.json"
    if told.exists() and json.loads(told.read_text()) != asdict(options):
        parser.error(f"{given.into} holds results of other options, {told.read_text().strip()}; choose another folder")
    write(told, asdict(options))
    pairs = [(name, seed) for seed in range(given.seeds) for name in names if not (seed and name in WITHOUT_DRAWS)]
    missing = [pair for pair in pairs if not result_of(given.into, *pair).exists()]
    if missing and not given.table:
        import torch

        from benchmarks.stock_market import Market, judged
        from benchmarks.stock_models import FITS, Run
        from quant_assets.learning.deep.place import training_at

        torch.set_num_threads(options.threads)
        market = Market.of(given.data)
        write(given.into / "all_names.json", judged(market.test, market.tensor, None))
        for name, seed in missing:
            start, cpu = time.perf_counter(), time.process_time()
            with training_at(None, said):
                forecasts, notes = FITS[name](Run(market, seed, given.into / "states", options))
            found = judged(market.test, market.tensor, forecasts)
            spent = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
            write(result_of(given.into, name, seed), {"model": name, "seed": seed} | found | {"notes": notes} | spent)
            said(f"{name}, seed {seed}: rank IC {found['rank_ic']:+.4f}, {spent['seconds']:.0f} s")
    results = [json.loads(path.read_text()) for pair in pairs if (path := result_of(given.into, *pair)).exists()]
    write(given.into / "results.json", {"options": asdict(options), "results": results})
    print("\n".join(markdown(names, results)))  # noqa: T201
    if (market_file := given.into / "all_names.json").exists():
        every = json.loads(market_file.read_text())
        print(f"\nAll names alike: {every['all_cumulative']:+.3f}, Sharpe {every['all_sharpe']:.2f}.")  # noqa: T201


def result_of(folder: Path, model: str, seed: int) -> Path:
    """File of the figures of a model and seed."""
    return folder / f"{model}-{seed}.json"


def write(path: Path, content: Any) -> None:
    """Write JSON whole or not at all."""
    made = path.with_suffix(".part")
    made.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(made, path)


def markdown(names: list[str], results: list[dict[str, Any]]) -> Iterator[str]:
    """Means over the seeds, and ± their deviation where there are two or more."""
    yield "| model | seeds | " + " | ".join(SHOWN) + " |"
    yield "|---|---|" + "---|" * len(SHOWN)
    for name in names:
        if of_model := [each for each in results if each["model"] == name]:
            cells = (_cell([each[key] for each in of_model], key) for key in SHOWN.values())
            yield f"| {name} | {len(of_model)} | " + " | ".join(cells) + " |"


def _cell(values: list[float | None], key: str) -> str:
    known = [each for each in values if each is not None]
    if not known:
        return ""
    digits = 4 if key.endswith("ic") else 2
    spread = f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{statistics.fmean(known):+.{digits}f}{spread}"


def said(text: str) -> None:
    """Progress, on standard error."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
