"""The stock Transformer with and without pre-training against simpler models, on the published NASDAQ benchmark.

    python -m benchmarks.stock_transformer --data FILE --into FOLDER [--seeds 5]
    [--models linear,lightgbm,rank_lstm,transformer,transformer_pretrained] [--hidden-size 128] [--epochs 3] …

FILE is `nasdaq_1026.parquet`: daily bars of 1,026 NASDAQ stocks, 2012-11 to 2017-12. Outcomes of 2013 to 2015 are for
training, those of 2016 stop it, those of 2017 (to December 8) test. Every (model, seed) is a JSON file in FOLDER, and
an interrupted training resumes at its last good epoch, so the same call continues where the last one ended. The table
has means over the seeds and their deviation; FOLDER/results.json has all figures.
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
    """Compute the missing results, seed by seed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--table", action="store_true", help="print stored results and compute nothing")
    for option in fields(Options):
        parser.add_argument(f"--{option.name.replace('_', '-')}", type=type(option.default), default=option.default)
    args = parser.parse_args()
    names = args.models.split(",")
    if unknown := sorted({*names} - {*MODELS}):
        parser.error(f"there is no model '{unknown[0]}'; choose among {', '.join(MODELS)}")
    options = Options(**{option.name: getattr(args, option.name) for option in fields(Options)})
    args.into.mkdir(parents=True, exist_ok=True)
    path = args.into / "options.json"
    if path.exists() and json.loads(path.read_text()) != asdict(options):
        parser.error(f"{args.into} holds results of other options, {path.read_text().strip()}; choose another folder")
    write(path, asdict(options))
    pairs = [(name, seed) for seed in range(args.seeds) for name in names if not (seed and name in WITHOUT_DRAWS)]
    missing = [pair for pair in pairs if not result_of(args.into, *pair).exists()]
    if missing and not args.table:
        import torch

        from benchmarks.stock_market import Market, judged
        from benchmarks.stock_models import FITS, Run
        from quant_assets.learning.deep.training_context import training_at

        torch.set_num_threads(options.threads)
        market = Market.of(args.data)
        write(args.into / "all_names.json", judged(market.test, market.tensor, None))
        for name, seed in missing:
            start, cpu = time.perf_counter(), time.process_time()
            with training_at(None, said):
                forecasts, notes = FITS[name](Run(market, seed, args.into / "states", options))
            figures = judged(market.test, market.tensor, forecasts)
            spent = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
            result = {"model": name, "seed": seed} | figures | {"notes": notes} | spent
            write(result_of(args.into, name, seed), result)
            said(f"{name}, seed {seed}: rank IC {figures['rank_ic']:+.4f}, {spent['seconds']:.0f} s")
    results = [json.loads(path.read_text()) for pair in pairs if (path := result_of(args.into, *pair)).exists()]
    write(args.into / "results.json", {"options": asdict(options), "results": results})
    print("\n".join(markdown(names, results)))  # noqa: T201
    if (market_file := args.into / "all_names.json").exists():
        every = json.loads(market_file.read_text())
        print(f"\nAll names alike: {every['all_cumulative']:+.3f}, Sharpe {every['all_sharpe']:.2f}.")  # noqa: T201


def result_of(folder: Path, model: str, seed: int) -> Path:
    """File with the figures of a model and seed."""
    return folder / f"{model}-{seed}.json"


def write(path: Path, content: Any) -> None:
    """Write JSON completely or not at all."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(part, path)


def markdown(names: list[str], results: list[dict[str, Any]]) -> Iterator[str]:
    """Means over the seeds, and ± their deviation for two or more."""
    yield "| model | seeds | " + " | ".join(SHOWN) + " |"
    yield "|---|---|" + "---|" * len(SHOWN)
    for name in names:
        if of_model := [result for result in results if result["model"] == name]:
            cells = (_cell([result[key] for result in of_model], key) for key in SHOWN.values())
            yield f"| {name} | {len(of_model)} | " + " | ".join(cells) + " |"


def _cell(values: list[float | None], key: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    digits = 4 if key.endswith("ic") else 2
    spread = f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{statistics.fmean(known):+.{digits}f}{spread}"


def said(text: str) -> None:
    """Print progress on standard error."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
