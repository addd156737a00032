#!/usr/bin/env python3
"""Makes the record of low-bit decode steps and prompts from what scripts/gpu bench lowbit left.

  record_lowbit.py FOLDER --commit a1b2c3d [--out bench/results/lowbit_latency.json]

FOLDER holds lowbit_WEIGHTS_KV.json (decode steps) and lowbit_prefill_WEIGHTS.json (prompts), the answers
of `lserve bench latency --json`, each with the ceilings of its own process. Bars: w8a8 with an int8
cache and w4a8 with an int4 cache at 128K; a step at 256K within 5 % of one at 128K; a prompt of 128K in
fp8. What FOLDER lacks, the record lacks, its bars too.
"""

import argparse
import datetime
import json
import sys
from pathlib import Path

from record_gpu import driver

LONG, LONGEST = 131072, 262144
STEP_BARS_MS = {("w8a8", "int8"): 3.4, ("w4a8", "int4"): 2.5}
PROMPT_BARS_S = {"fp8": 6.4}
WHY = {("w8a8", "int8"): "o and down read their weights well below the bandwidth: a short "
                         "product's begin and end are much of its time",
       ("w4a8", "int4"): "as w8a8, and products of 4-bit codes are bound by instructions"}


def bar(limit, value, why):
    holds = value <= limit
    figure = {"limit": f"<= {limit}", "holds": holds}
    if not holds and why:
        figure["why"] = why
    return figure


def step_figures(weights, kv, figures):
    """A decode step at each length, and how much longer the longest takes."""
    steps = {}
    for figure in figures:
        if "does_not_fit" in figure:
            continue
        tokens = figure["prompt_tokens"]
        milliseconds = steps[tokens] = figure["decode_ms_median"]
        row = {"metric": f"decode {weights}, {kv} cache, {figure['attention']}, {tokens} tokens, "
                         f"batch {figure['batch']}",
               "value": milliseconds, "unit": "ms",
               "spread": [figure["decode_ms_min"], figure["decode_ms_p99"]],
               "tokens_per_second": round(1000 * figure["batch"] / milliseconds, 1)}
        if figure.get("decode_of_ceiling"):
            row["of_ceiling"] = round(figure["decode_of_ceiling"], 3)
        if tokens == LONG and (weights, kv) in STEP_BARS_MS:
            row |= bar(STEP_BARS_MS[weights, kv], milliseconds, WHY.get((weights, kv)))
        yield row
    if LONG in steps and LONGEST in steps:
        ratio = round(steps[LONGEST] / steps[LONG], 3)
        yield {"metric": f"decode {weights}, {kv} cache: 256K over 128K", "value": ratio,
               "unit": "ratio", **bar(1.05, ratio, None)}


def prompt_figures(weights, figures):
    for figure in figures:
        if "prefill_ms" not in figure:
            continue
        seconds = figure["prefill_ms"] / 1000
        row = {"metric": f"prefill {weights}, {figure['attention']}, "
                         f"{figure['prompt_tokens']} tokens",
               "value": seconds, "unit": "s"}
        if (figure["prompt_tokens"], figure["attention"]) == (LONG, "lserve") \
                and weights in PROMPT_BARS_S:
            row |= bar(PROMPT_BARS_S[weights], seconds, None)
        yield row


def figures_of(words, run):
    if words[0] == "prefill":
        return list(prompt_figures(words[1], run["figures"]))
    return list(step_figures(*words, run["figures"]))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--commit", required=True)
    parser.add_argument("--out", type=Path, default=Path("bench/results/lowbit_latency.json"))
    options = parser.parse_args(arguments)
    runs = {}
    for path in sorted(options.folder.glob("lowbit_*_*.json")):
        if path.stat().st_size > 0:  # a run that was cut leaves nothing
            runs[path.stem.removeprefix("lowbit_")] = json.loads(path.read_text())
    if not runs:
        sys.exit(f"nothing measured in {options.folder}")
    record = {"name": options.out.stem, "device": next(iter(runs.values()))["device"],
              "driver": driver(), "commit": options.commit,
              "date": datetime.date.today().isoformat(), "command": "scripts/gpu bench lowbit",
              "seed": 1, "ceilings": {name: run["ceilings"] for name, run in runs.items()},
              "setting": "random:llama-3-8b, the head in w8a8; decode over random keys and values, "
                         "budget 4096, every second KV head streaming (sink 128, local 256); "
                         "prompts in chunks of 8192",
              "figures": [figure for name, run in runs.items()
                          for figure in figures_of(name.split("_"), run)]}
    options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
