#!/usr/bin/env python3
"""Makes the record of a GPU's latencies from what scripts/gpu bench left in a folder.

  record_gpu.py FOLDER --commit a1b2c3d [--out bench/results/cuda_latency.json]

FOLDER holds cuda_{bf16,int8,batch,prefill,ops}.json, the answers of `lserve bench latency --json`,
each with the ceilings of its own process, and cuda_chunk_linear.json and cuda_whole_attention.json,
records of `kernel_bench`: what vendors' kernels take for the products of a chunk and the attention
of a whole prompt. What FOLDER lacks, the record lacks. Bars here: an lserve decode step at 256K takes
at most 1.1 times one at 8K; dense attention reads K and V at 50 % or more of the copy bandwidth, by
the time that 128K takes more than 8K. tools/attention_bars.py has those of prefill.

Operations (--op-times) are figures of one decode step, or of one prompt; `a_layer_us` is the part of
one layer where all layers call it. `over_ceiling_us` is what they take more than their bytes and
operations would at the ceilings: the losses, largest first.
"""

import argparse
import datetime
import json
import subprocess
import sys
from pathlib import Path

KV_BYTES = {"bf16": 2 * 128 * 2, "int8": 2 * (128 + 4)}  # K and V of a token and KV head
LAYERS = 32
KV_HEADS_OF_ALL_LAYERS = LAYERS * 8
CHUNK = 8192
KINDS = ("bf16", "int8", "batch", "prefill", "prefill_long", "ops")
SHORT, LONG, LONGEST = 8192, 131072, 262144


def name_of(kind, figure):
    return f"{kind} {figure['attention']}, {figure['prompt_tokens']} tokens, batch {figure['batch']}"


def part_of(figure, phase):
    part = figure.get(f"{phase}_of_ceiling")
    return {"of_ceiling": round(part, 3)} if part else {}


def decode_figures(kind, figures):
    for figure in figures:
        if "does_not_fit" not in figure:
            yield {"metric": f"decode {name_of(kind, figure)}", "value": figure["decode_ms_median"],
                   "unit": "ms", "spread": [figure["decode_ms_min"], figure["decode_ms_p99"]],
                   **part_of(figure, "decode")}


def prefill_figures(figures):
    for figure in figures:
        if "prefill_ms" in figure:
            yield {"metric": f"prefill {name_of('bf16', figure)}",
                   "value": figure["prefill_ms"] / 1000, "unit": "s",
                   "spread": [figure["prefill_ms_min"] / 1000, figure["prefill_ms_max"] / 1000],
                   **part_of(figure, "prefill")}


def milliseconds(figures, attention, tokens):
    return next((f["decode_ms_median"] for f in figures
                 if (f["attention"], f["prompt_tokens"], f["batch"]) == (attention, tokens, 1)
                 and "does_not_fit" not in f), None)


def bars(kind, figures, copy_gb_s):
    short = milliseconds(figures, "lserve", SHORT)
    longest = milliseconds(figures, "lserve", LONGEST)
    if short and longest:
        ratio = longest / short
        yield {"metric": f"decode {kind} lserve: 256K over 8K", "value": round(ratio, 3),
               "unit": "ratio", "limit": "<= 1.1", "holds": ratio <= 1.1}
    short, long = (milliseconds(figures, "dense", tokens) for tokens in (SHORT, LONG))
    if short and long:
        moved = (LONG - SHORT) * KV_HEADS_OF_ALL_LAYERS * KV_BYTES[kind]
        rate = moved / (long - short) * 1e-6
        yield {"metric": f"decode {kind} dense attention: K and V read from 8K to 128K",
               "value": round(rate, 1), "unit": "GB/s", "baseline": "device copy, same call",
               "ratio": round(rate / copy_gb_s, 3), "limit": ">= 0.5 of copy",
               "holds": rate >= 0.5 * copy_gb_s}


def op_figure(metric, op):
    figure = {"metric": metric, "value": round(op["us"], 1), "unit": "us", "calls": op["calls"]}
    if op["calls"] % LAYERS == 0:
        figure["a_layer_us"] = round(op["us"] / LAYERS, 2)
    for key in ("bytes", "operations"):
        if key in op:
            figure[key] = round(op[key])
    if "of_ceiling" in op:
        figure["of_ceiling"] = round(op["of_ceiling"], 3)
        figure["over_ceiling_us"] = round(op["us"] * (1 - op["of_ceiling"]), 1)
    return figure


def op_figures(figures):
    """Where the time goes: each operation of a prompt and of a decode step, the largest losses
    first; those of which nothing is counted lose all their time."""
    for figure in figures:
        for phase in ("prefill", "decode"):
            ops = [op_figure(f"{phase} {name_of('bf16', figure)}: {op['op']}", op)
                   for op in figure.get(f"{phase}_ops", [])]
            yield from sorted(ops, key=lambda f: -f.get("over_ceiling_us", f["value"]))


def baseline_seconds(record, begin):
    """The sum over the vendor's times of the rows whose names begin so; None if one has none."""
    rows = [f for f in record["figures"] if f["metric"].startswith(begin)]
    if not rows or any("baseline_microseconds" not in f for f in rows):
        return None
    return sum(f["baseline_microseconds"] for f in rows) * 1e-6


def vendor_figures(folder):
    """A dense prefill of 128K by vendors' kernels: the products of all layers, chunk by chunk, and
    the attention of the whole prompt."""
    paths = [folder / f"cuda_{name}.json" for name in ("chunk_linear", "whole_attention")]
    if not all(path.exists() for path in paths):
        return
    linear, attention = (json.loads(path.read_text()) for path in paths)
    products = baseline_seconds(linear, "linear ")
    whole = baseline_seconds(attention, f"prefill_attention dense, bf16, context {LONG}, {LONG} rows")
    if products is None or whole is None:
        return
    products *= LAYERS * LONG / CHUNK
    whole *= LAYERS
    yield {"metric": f"prefill bf16 dense, {LONG} tokens: cuBLASLt's products and cuDNN's attention",
           "value": products + whole, "unit": "s", "products_s": products, "attention_s": whole}


def does_not_fit(runs):
    """{metric: why it has no figure}"""
    return {f"{'prefill' if kind.startswith('prefill') else 'decode'} "
            f"{name_of('int8' if kind == 'int8' else 'bf16', figure)}": figure["does_not_fit"]
            for kind, run in runs.items() if kind != "ops"
            for figure in run["figures"] if "does_not_fit" in figure}


def driver():
    """The driver and the clocks that the device may reach, as nvidia-smi says; "" without it."""
    query = "driver_version,clocks.max.sm,clocks.max.mem"
    try:
        answer = subprocess.run(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"],
                                capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return "driver, clocks of SM and memory at most: " + answer.stdout.splitlines()[0]


def figures_of(kind, run):
    if kind == "ops":
        return list(op_figures(run["figures"]))
    if kind.startswith("prefill"):
        return list(prefill_figures(run["figures"]))
    if kind == "batch":
        return list(decode_figures("bf16", run["figures"]))
    return [*decode_figures(kind, run["figures"]),
            *bars(kind, run["figures"], run["ceilings"]["copy_gb_s"])]


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--commit", required=True)
    parser.add_argument("--out", type=Path, default=Path("bench/results/cuda_latency.json"))
    arguments = parser.parse_args(words)
    runs = {kind: json.loads(path.read_text()) for kind in KINDS
            if (path := arguments.folder / f"cuda_{kind}.json").exists()}
    if not runs:
        sys.exit(f"nothing measured in {arguments.folder}")
    first = next(iter(runs.values()))
    record = {"name": arguments.out.stem, "device": first["device"], "driver": driver(),
              "commit": arguments.commit,
              "date": datetime.date.today().isoformat(), "command": "scripts/gpu bench latency",
              "seed": 1, "ceilings": {kind: run["ceilings"] for kind, run in runs.items()},
              "setting": "random:llama-3-8b, bf16 weights; decode over random keys and values, "
                         "budget 4096, every second KV head streaming (sink 128, local 256)",
              "does_not_fit": does_not_fit(runs),
              "figures": [*(f for kind, run in runs.items() for f in figures_of(kind, run)),
                          *vendor_figures(arguments.folder)]}
    arguments.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
