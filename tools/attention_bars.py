#!/usr/bin/env python3
"""Holds the records of `scripts/gpu bench kernels` against the bars for attention on Hopper.

  attention_bars.py [FOLDER] [--out bench/results/attention_bars.json]

Reads cuda_*.json of FOLDER (bench/results) and writes one figure for each bar, with its limit and
whether it holds; a bar that no record measures is named in `not_measured`.
"""

import argparse
import json
from pathlib import Path

NOT_MEASURED = [
    "half of the heads streaming with a local window of 8192",
    "several prompts of different length in one call, against the sum of the parts",
    "decode at 32K and 256K, at batch 32, and of a model without grouped heads",
    "page scores of 4 heads; both selector operations at 512K; statistics of 8 bits",
    "prefill of a whole model at 128K with this attention",
]


class Record:
    def __init__(self, folder, name):
        self.whole = json.loads((folder / f"{name}.json").read_text())
        self.figures = {f["metric"]: f for f in self.whole["figures"]}

    def __getitem__(self, metric):
        return self.figures[metric]


def bar(metric, value, unit, limit, at_most=True):
    holds = value <= limit if at_most else value >= limit
    return {"metric": metric, "value": round(value, 3), "unit": unit,
            "limit": f"{'<=' if at_most else '>='} {limit}", "holds": holds}


def prefill(attention, context, rows=None):
    return f"prefill_attention {attention}, context {context}, {rows or context} rows"


def dense_bars(records):
    for name, dim, limit in (("cuda_prefill_attention", 128, 1.05),
                             ("cuda_prefill_attention_64", 64, 1.10)):
        for metric, f in records[name].figures.items():
            if metric.startswith("prefill_attention dense"):
                yield bar(f"time over cuDNN's, head_dim {dim}: {metric}",
                          f["microseconds"] / f["baseline_microseconds"], "ratio", limit)
    record = records["cuda_prefill_attention"]
    for context in (65536, 131072):
        streaming = record[prefill("streaming, bf16", context)]["microseconds"]
        dense = record[prefill("dense, bf16", context)]["microseconds"]
        yield bar(f"half of the heads streaming over dense, context {context}",
                  streaming / dense, "ratio", 0.56)


def skipped_bars(records):
    """Time over that of dense attention times the kept share of its operations."""
    whole = records["cuda_prefill_blocks"][prefill("dense, bf16", 65536)]["value"]
    for name in ("cuda_prefill_blocks", "cuda_prefill_slashes"):
        for metric, f in records[name].figures.items():
            if "skipped" in metric:
                yield bar(f"time over the kept share of dense: {metric}", whole / f["value"],
                          "ratio", 1.12)


def chunk_bars(records):
    whole = records["cuda_prefill_attention"][prefill("dense, bf16", 131072)]["value"]
    for metric, f in records["cuda_prefill_chunk"].figures.items():
        if "2048 rows" not in metric:
            yield bar(f"TFLOP/s over the whole prompt's: {metric}", f["value"] / whole, "ratio",
                      0.9, at_most=False)


def decode_bars(records):
    record = records["cuda_decode_attention"]
    for kind, some, many in (("bf16", 0.80, 0.88), ("int8", 0.72, 0.80), ("int4", 0.58, 0.65)):
        for context, batch in ((8192, 8), (8192, 16), (131072, 1), (131072, 8), (131072, 16)):
            metric = f"decode_attention dense, {kind}, context {context}, batch {batch}"
            yield bar(f"part of copy bandwidth: {metric}", record[metric]["of_ceiling"], "part",
                      many if context * batch >= 131072 else some, at_most=False)
    for kind in ("bf16", "int8"):
        sparse = f"decode_attention lserve, {kind}, context 131072, batch"
        yield bar(f"part of copy bandwidth: {sparse} 16",
                  record[f"{sparse} 16, budget 4096"]["of_ceiling"], "part", 0.75, at_most=False)
    yield bar("lserve, int8, batch 1, a layer",
              record["decode_attention lserve, int8, context 131072, batch 1, budget 4096"]
              ["microseconds"], "us", 8)


def selector_bars(records):
    record = records["cuda_selector"]
    for op, case in (("select_pages", "budget 4096"), ("page_scores", "minmax")):
        short, long = (record[f"{op} {case}, context {context}, batch 1"]["microseconds"]
                       for context in (131072, 1048576))
        if op == "select_pages":
            yield bar("select_pages, 128K, batch 1", short, "us", 6)
        yield bar(f"{op}: 1M over 128K", long / short, "ratio", 8)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("bench/results"))
    parser.add_argument("--out", type=Path, default=Path("bench/results/attention_bars.json"))
    arguments = parser.parse_args()
    names = ["cuda_prefill_attention", "cuda_prefill_attention_64", "cuda_prefill_blocks",
             "cuda_prefill_slashes", "cuda_prefill_chunk", "cuda_decode_attention", "cuda_selector"]
    records = {name: Record(arguments.folder, name) for name in names}
    figures = [f for bars in (dense_bars, skipped_bars, chunk_bars, decode_bars, selector_bars)
               for f in bars(records)]
    first = records[names[0]].whole
    record = {**{key: first[key] for key in ("device", "driver", "commit", "date", "seed")},
              "ceilings": first["ceilings"]}
    record = {"name": arguments.out.stem, "command": "tools/attention_bars.py", **record,
              "from": names, "not_measured": NOT_MEASURED, "figures": figures}
    arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    for f in figures:
        print("holds " if f["holds"] else "MISSED", f["value"], f["limit"], f["metric"])


if __name__ == "__main__":
    main()
