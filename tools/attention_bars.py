#!/usr/bin/env python3
"""Holds the records of `scripts/gpu bench` against the bars for attention on Hopper.

  attention_bars.py [FOLDER] [--out bench/results/attention_bars.json]

Reads cuda_*.json and quality_key_stats.json of FOLDER (bench/results) and writes one figure for each bar, with its limit and
whether it holds. A bar whose row no record has is in `missing`, with the row, and the exit code is
then 1; one whose row did not fit into the device's memory is in `does_not_fit`, with both numbers.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

REAL_KEYS = ("retriever-14m, 8K tokens, budget 1024", "retriever-14m, 8K tokens, budget 2048",
             "retriever-11m-hd128, 8K tokens, budget 1024",
             "SmolLM2-135M with the long adapter, 8K tokens, budget 1024")
# By a part of the metric's name: what a miss is put down to.
WHY_MISSED = (
    ("context 16384", "at 16K queries a CTA has few work items: what the first and the last of them "
                      "lose counts most"),
    ("context 32768, batch 1", "one sequence of 32K is so few bytes that a launch's begin, its merge "
                               "of splits and its end are a large part of its time"),
    ("batch 16, budget 4096", "64 pages a head in splits of 4 and 8 spans: as for one sequence of 32K"),
    ("int8, batch 1, a layer", "launch, first answer of memory and merge of splits take most of it"),
)
SKIPPED = (40, 50, 60, 70, 80, 90)
BESIDE = (1024, 2048, 3072, 4096)
FORMATS = (("bf16", 0.80, 0.88), ("int8", 0.72, 0.80), ("int4", 0.58, 0.65))
SOME_TOKENS, MANY_TOKENS = 32768, 131072  # in flight
K = 1024


class Missing(Exception):
    """No record has the row."""


class DoesNotFit(Exception):
    """The record says that the device's memory is too small for it."""


class Records:
    def __init__(self, folder):
        self.folder = folder
        self.read = {}

    def _record(self, name):
        if name not in self.read:
            path = self.folder / f"{name}.json"
            if not path.exists():
                raise Missing(f"no record {name}")
            whole = json.loads(path.read_text())
            self.read[name] = whole, {f["metric"]: f for f in whole["figures"]}
        return self.read[name]

    def row(self, name, metric):
        whole, figures = self._record(name)
        if metric in whole.get("does_not_fit", {}):
            raise DoesNotFit(whole["does_not_fit"][metric])
        if metric not in figures:
            raise Missing(f"{name} has no row: {metric}")
        return figures[metric]

    def number(self, name, metric, key):
        row = self.row(name, metric)
        if key not in row:
            raise Missing(f"{name} has no {key}: {metric}")
        return row[key]

    def us(self, name, metric):
        return self.number(name, metric, "microseconds")


@dataclass
class Bar:
    metric: str
    unit: str
    limit: float  # None: a figure to show
    value: Callable  # of Records; the value, or that and what else the figure says
    at_most: bool = True


def at_most(metric, unit, limit, value):
    return Bar(metric, unit, limit, value)


def at_least(metric, unit, limit, value):
    return Bar(metric, unit, limit, value, at_most=False)


def prefill(attention, context, rows=None, more=""):
    return f"prefill_attention {attention}, context {context}, {rows or context} rows{more}"


def over_vendor(name, metric):
    return lambda r: r.us(name, metric) / r.number(name, metric, "baseline_microseconds")


def over(name, metric, base):
    return lambda r: r.us(name, metric) / r.us(name, base)


def dense_bars():
    for name, dim, limit in (("cuda_prefill_attention", 128, 1.05),
                             ("cuda_prefill_attention_64", 64, 1.10)):
        for context in (16 * K, 32 * K, 64 * K, 128 * K):
            metric = prefill("dense, bf16", context)
            yield at_most(f"time over cuDNN's, head_dim {dim}: {metric}", "ratio", limit,
                          over_vendor(name, metric))


def over_ideal(name, metric, dense):
    """By the share of dense attention's key blocks that are on the lists."""
    def value(r):
        row = r.row(name, metric)
        share = (r.number(name, metric, "blocks_read") /
                 r.number(name, metric, "blocks_of_dense"))
        ideal = r.us(name, dense) * share
        return row["microseconds"] / ideal, {"share_of_blocks": round(share, 4),
                                             "ideal_microseconds": round(ideal, 1)}
    return value


def streaming_bars():
    for context in (64 * K, 128 * K):
        dense = prefill("dense, bf16", context)
        yield at_most(f"half of the heads streaming over dense, context {context}", "ratio", 0.56,
                      over("cuda_prefill_attention", prefill("streaming, bf16", context), dense))
        local = prefill("streaming, local 8192, bf16", context)
        yield at_most(f"time over dense's for the share of its blocks: {local}", "ratio", 1.10,
                      over_ideal("cuda_prefill_local", local, dense))


def over_kept(name, metric, dense):
    """By the kept share of operations: their rates."""
    return lambda r: r.row(name, dense)["value"] / r.row(name, metric)["value"]


def skipped_bars():
    dense = prefill("dense, bf16", 64 * K)
    for name, lists in (("cuda_prefill_blocks", "random"),
                        ("cuda_prefill_slashes", "vertical-slash")):
        for percent in SKIPPED:
            metric = f"{dense}, {percent}% of blocks skipped, {lists}"
            yield at_most(f"time over the kept share of dense: {metric}", "ratio", 1.12,
                          over_kept(name, metric, dense))
    single = f"{dense}, 0% of blocks skipped, single"
    yield at_most(f"every block listed by itself, over dense: {single}", "ratio", 1.02,
                  over("cuda_prefill_single", single, dense))


def chunk_bars():
    name = "cuda_prefill_chunk"
    whole = prefill("dense, bf16", 128 * K)
    for kind, _, _ in FORMATS:
        for rows in (8 * K, 16 * K):
            metric = prefill(f"dense, {kind}", 128 * K, rows)
            yield at_least(f"TFLOP/s over the whole prompt's: {metric}", "ratio", 0.9,
                           lambda r, metric=metric: r.row(name, metric)["value"] /
                           r.row(name, whole)["value"])
    for kind in ("int8", "int4"):
        metric = prefill(f"dense, {kind}", 128 * K, 8 * K)
        alone = f"prefill_attention dense, {kind}, context {128 * K}, one page read"
        yield at_most(f"the call without its attention, over the call: {metric}", "part", 0.03,
                      over(name, alone, metric))


def over_parts(name, metric, parts):
    def value(r):
        total = sum(r.us(name, part) for part in parts)
        return r.us(name, metric) / total, {"parts_microseconds": round(total, 1)}
    return value


def mixed_bars():
    chunk = prefill("dense, bf16", 128 * K, 8 * K)
    together = f"{chunk}, beside prompts of {' '.join(map(str, BESIDE))}"
    parts = [chunk, *(prefill("dense, bf16", tokens) for tokens in BESIDE)]
    yield at_most(f"time over the sum of the parts: {together}", "ratio", 1.05,
                  over_parts("cuda_prefill_mixed", together, parts))


def part_of_copy(name, metric):
    return lambda r: r.number(name, metric, "of_ceiling")


def decode_dense_bars():
    for name, shape, contexts in (
            ("cuda_decode_attention", "", (8 * K, 32 * K, 128 * K, 256 * K)),
            ("cuda_decode_mha", " of Llama-2-7B", (8 * K, 32 * K, 256 * K))):
        for kind, some, many in FORMATS:
            for context in contexts:
                for batch in (1, 8, 32):
                    if context * batch < SOME_TOKENS:
                        continue
                    metric = f"decode_attention dense, {kind}, context {context}, batch {batch}"
                    limit = many if context * batch >= MANY_TOKENS else some
                    yield at_least(f"part of copy bandwidth{shape}: {metric}", "part", limit,
                                   part_of_copy(name, metric))
    metric = f"decode_attention dense, bf16, context {128 * K}, batch 1"
    yield Bar("bytes of K and V read once a query head, over once a KV head", "ratio", None,
              lambda r: r.number("cuda_decode_attention", metric, "kv_bytes_by_query_head") /
              r.number("cuda_decode_attention", metric, "kv_bytes_read"))


def sparse(kind, context, batch):
    return f"decode_attention lserve, {kind}, context {context}, batch {batch}, budget 4096"


def decode_sparse_bars():
    name = "cuda_decode_sparse"
    for kind, _, _ in FORMATS:
        yield at_most(f"a layer's attention at 256K over 8K: lserve, {kind}, batch 1", "ratio",
                      1.05, over(name, sparse(kind, 256 * K, 1), sparse(kind, 8 * K, 1)))
    for kind in ("bf16", "int8"):
        metric = sparse(kind, 256 * K, 16)
        yield at_least(f"part of copy bandwidth: {metric}", "part", 0.75,
                       part_of_copy(name, metric))
    yield at_most("lserve, int8, batch 1, a layer", "us", 8,
                  lambda r: r.us(name, sparse("int8", 256 * K, 1)))


def selector_bars():
    name = "cuda_selector"

    def row(op, context):
        case = "minmax" if op == "page_scores" else "budget 4096"
        return f"{op} {case}, 4 heads, context {context}, batch 1"

    for op, limit in (("page_scores", 12), ("select_pages", 6)):
        yield at_most(f"{op}, 4 heads, 128K, batch 1", "us", limit,
                      lambda r, op=op: r.us(name, row(op, 128 * K)))
        yield at_most(f"{op}: 1M over 128K", "ratio", 8,
                      over(name, row(op, K * K), row(op, 128 * K)))
    for text, context, limit in (("128K", 128 * K, 5), ("512K", 512 * K, 14)):
        yield at_most(f"scores and selection, a layer, averaged over a reuse of 4, {text}", "us",
                      limit, lambda r, context=context:
                      (r.us(name, row("page_scores", context)) +
                       r.us(name, row("select_spans", context))) / 4)


def recall_bars():
    for case in REAL_KEYS:
        metric = f"{case}, recall of the 16-bit selection"
        yield at_least(f"statistics of 8 bits: {metric}", "fraction", 0.97,
                       lambda r, metric=metric: r.row("quality_key_stats", metric)["value"])


def latency_bars():
    name = "cuda_latency"

    def value(metric):
        return lambda r: r.row(name, metric)["value"]

    def ratio(metric, base):
        return lambda r: r.row(name, metric)["value"] / r.row(name, base)["value"]

    decode = "decode int8 lserve, {} tokens, batch 1"
    yield at_most("decode step, lserve, int8: 256K over 8K", "ratio", 1.10,
                  ratio(decode.format(256 * K), decode.format(8 * K)))
    lserve, dense = (f"prefill bf16 {mode}, {128 * K} tokens, batch 1"
                     for mode in ("lserve", "dense"))
    yield at_most("prefill of 128K, lserve over dense", "ratio", 0.68, ratio(lserve, dense))
    yield at_most("prefill of 128K, lserve", "s", 7.4, value(lserve))
    vendors = f"prefill bf16 dense, {128 * K} tokens: cuBLASLt's products and cuDNN's attention"
    yield at_most("prefill of 128K, dense, over the vendors' products and attention", "ratio", 1.10,
                  ratio(dense, vendors))


def all_bars():
    for bars in (dense_bars, streaming_bars, skipped_bars, chunk_bars, mixed_bars,
                 decode_dense_bars, decode_sparse_bars, selector_bars, recall_bars, latency_bars):
        yield from bars()


def judged(bar, records):
    """The figure of a bar. Raises Missing, DoesNotFit."""
    value = bar.value(records)
    value, more = value if isinstance(value, tuple) else (value, {})
    figure = {"metric": bar.metric, "value": round(value, 3), "unit": bar.unit, **more}
    if bar.limit is None:
        return figure
    holds = value <= bar.limit if bar.at_most else value >= bar.limit
    figure |= {"limit": f"{'<=' if bar.at_most else '>='} {bar.limit}", "holds": holds}
    if not holds:
        figure["why"] = next((why for part, why in WHY_MISSED if part in bar.metric), "not known")
    return figure


def judge(records, bars):
    """(figures, {metric: why it has none}, {metric: what did not fit})"""
    figures, missing, does_not_fit = [], {}, {}
    for bar in bars:
        try:
            figures.append(judged(bar, records))
        except Missing as error:
            missing[bar.metric] = str(error)
        except DoesNotFit as error:
            does_not_fit[bar.metric] = str(error)
    return figures, missing, does_not_fit


def mark(figure):
    return {True: "holds ", False: "MISSED", None: "      "}[figure.get("holds")]


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("bench/results"))
    parser.add_argument("--out", type=Path, default=Path("bench/results/attention_bars.json"))
    arguments = parser.parse_args(words)
    records = Records(arguments.folder)
    figures, missing, does_not_fit = judge(records, all_bars())
    if not records.read:
        sys.exit(f"no record in {arguments.folder}")
    wholes = {name: whole for name, (whole, _) in records.read.items()}
    first = next((w for name, w in wholes.items() if name.startswith("cuda_")), {})
    record = {"name": arguments.out.stem, "command": "tools/attention_bars.py",
              **{key: first.get(key) for key in
                 ("device", "driver", "commit", "date", "seed", "ceilings")},
              "from": {name: f"{w['commit']}, {w['date']}, {w['device']}"
                       for name, w in wholes.items()},
              "missing": missing, "does_not_fit": does_not_fit,
              "figures": figures}
    arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    for f in figures:
        print(mark(f), f["value"], f["unit"], f.get("limit", ""), f["metric"])
    for kind, why in (("MISSING", missing), ("does not fit", does_not_fit)):
        for metric, text in why.items():
            print(kind, metric, "--", text)
    held = [f["holds"] for f in figures if "holds" in f]
    print(f"{sum(held)} hold, {len(held) - sum(held)} are missed, {len(missing)} are missing, "
          f"{len(does_not_fit)} do not fit")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
