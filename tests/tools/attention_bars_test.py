"""tools/attention_bars.py: bars that hold, are missed, are missing, or do not fit; and the record that
tools/record_gpu.py makes of latencies, from which some are judged."""

import contextlib
import io
import json
import os
import re
import sys
import tempfile
import unittest
from pathlib import Path

TOOLS = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools"))
sys.path.insert(0, TOOLS)

import attention_bars
import record_gpu

HEAD = {"device": "cuda, a GPU", "driver": "1", "commit": "1234567", "date": "2026-01-01",
        "command": "kernel_bench", "seed": 0, "ceilings": {"copy_gb_s": 3000}}
SELECT = "select_pages budget 4096, 4 heads, context {}, batch 1"
CHUNK = "prefill_attention dense, bf16, context 131072, 8192 rows"


def row(metric, microseconds, **more):
    return {"metric": metric, "value": 1.0, "unit": "GB/s", "microseconds": microseconds, **more}


def judge(records):
    """What attention_bars says of {name: rows}, or {name: (rows, what does not fit)}."""
    with tempfile.TemporaryDirectory() as folder:
        for name, rows in records.items():
            rows, does_not_fit = rows if isinstance(rows, tuple) else (rows, {})
            text = json.dumps({"name": name, **HEAD, "does_not_fit": does_not_fit, "figures": rows})
            (Path(folder) / f"{name}.json").write_text(text)
        out = Path(folder) / "attention_bars.json"
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            code = attention_bars.main([folder, "--out", str(out)])
        return code, json.loads(out.read_text()), printed.getvalue()


def figure(record, metric):
    return next(f for f in record["figures"] if f["metric"] == metric)


class AttentionBarsTest(unittest.TestCase):
    def test_a_bar_that_holds_and_one_that_is_missed(self):
        rows = [row(SELECT.format(131072), 6.5), row(SELECT.format(1048576), 40)]
        _, record, printed = judge({"cuda_selector": rows})
        missed = figure(record, "select_pages, 4 heads, 128K, batch 1")
        self.assertEqual((missed["value"], missed["limit"], missed["holds"]), (6.5, "<= 6", False))
        held = figure(record, "select_pages: 1M over 128K")
        self.assertEqual((held["value"], held["limit"], held["holds"]), (6.154, "<= 8", True))
        self.assertIn("MISSED 6.5 us <= 6 select_pages, 4 heads, 128K, batch 1", printed)
        self.assertIn("holds  6.154 ratio <= 8 select_pages: 1M over 128K", printed)
        self.assertIn("1 hold, 1 are missed", printed)

    def test_recall_is_judged_by_the_record_of_real_keys(self):
        metric = f"{attention_bars.REAL_KEYS[0]}, recall of the 16-bit selection"
        for value, holds in ((0.97, True), (0.9699, False)):
            rows = [{"metric": metric, "value": value, "unit": "fraction"}]
            _, record, _ = judge({"quality_key_stats": rows})
            self.assertEqual(figure(record, f"statistics of 8 bits: {metric}")["holds"], holds)

    def test_a_bar_at_its_limit_holds(self):
        _, record, _ = judge({"cuda_selector": [row(SELECT.format(131072), 6)]})
        self.assertTrue(figure(record, "select_pages, 4 heads, 128K, batch 1")["holds"])

    def test_a_row_that_no_record_has_is_missing_and_said_so(self):
        code, record, printed = judge({"cuda_selector": [row(SELECT.format(131072), 5)]})
        self.assertEqual(code, 1)
        self.assertEqual(record["missing"]["select_pages: 1M over 128K"],
                         "cuda_selector has no row: " + SELECT.format(1048576))
        latency = "prefill of 128K, lserve"
        self.assertEqual(record["missing"][latency], "no record cuda_latency")
        self.assertIn(f"MISSING {latency} -- no record cuda_latency", printed)
        # Every bar is somewhere.
        bars = [bar.metric for bar in attention_bars.all_bars()]
        self.assertEqual(len(bars), len(set(bars)))
        told = [f["metric"] for f in record["figures"]] + list(record["missing"])
        self.assertEqual(sorted(told), sorted(bars))

    def test_a_row_without_the_vendors_time_is_missing(self):
        metric = "prefill_attention dense, bf16, context 16384, 16384 rows"
        _, record, _ = judge({"cuda_prefill_attention": [row(metric, 5)]})
        self.assertIn("baseline_microseconds",
                      record["missing"][f"time over cuDNN's, head_dim 128: {metric}"])

    def test_what_does_not_fit_is_neither_held_nor_missing(self):
        metric = "decode_attention dense, bf16, context 262144, batch 32"
        _, record, printed = judge(
            {"cuda_decode_mha": ([], {metric: "does not fit: 129.00 GiB of 71.00 GiB"})})
        bar = f"part of copy bandwidth of Llama-2-7B: {metric}"
        self.assertEqual(record["does_not_fit"][bar], "does not fit: 129.00 GiB of 71.00 GiB")
        self.assertNotIn(bar, record["missing"])
        self.assertIn("1 do not fit", printed)

    def test_limits_of_decode_are_by_tokens_in_flight(self):
        rows = [row(f"decode_attention dense, int8, context {context}, batch {batch}", 1,
                    of_ceiling=0.75)
                for context, batch in ((8192, 1), (32768, 1), (131072, 1))]
        _, record, _ = judge({"cuda_decode_attention": rows})
        self.assertEqual([(f["limit"], f["holds"]) for f in record["figures"]],
                         [(">= 0.72", True), (">= 0.8", False)])

    def test_the_ideal_of_a_local_window_is_by_its_blocks(self):
        dense = "prefill_attention dense, bf16, context 65536, 65536 rows"
        local = "prefill_attention streaming, local 8192, bf16, context 65536, 65536 rows"
        rows = [row(dense, 1000), row(local, 700, blocks_read=620, blocks_of_dense=1000)]
        _, record, _ = judge({"cuda_prefill_local": rows})
        found = figure(record, f"time over dense's for the share of its blocks: {local}")
        self.assertEqual(found["ideal_microseconds"], 620)
        self.assertEqual((found["value"], found["holds"]), (1.129, False))

    def test_parts_that_run_together(self):
        parts = [f"prefill_attention dense, bf16, context {n}, {n} rows"
                 for n in (1024, 2048, 3072, 4096)]
        together = f"{CHUNK}, beside prompts of 1024 2048 3072 4096"
        rows = [row(CHUNK, 1000), row(together, 1100), *(row(part, 25) for part in parts)]
        _, record, _ = judge({"cuda_prefill_mixed": rows})
        found = figure(record, f"time over the sum of the parts: {together}")
        self.assertEqual((found["value"], found["parts_microseconds"], found["holds"]),
                         (1, 1100, True))
        _, record, _ = judge({"cuda_prefill_mixed": rows[:-1]})
        self.assertIn(parts[-1], record["missing"][found["metric"]])

    def test_scores_and_selection_over_the_reuse(self):
        rows = [row("page_scores minmax, 4 heads, context 131072, batch 1", 15),
                row("select_spans budget 4096, 4 heads, context 131072, batch 1", 6)]
        _, record, _ = judge({"cuda_selector": rows})
        found = figure(record,
                       "scores and selection, a layer, averaged over a reuse of 4, 128K")
        self.assertEqual((found["value"], found["holds"]), (5.25, False))

    def test_every_record_that_a_bar_reads_is_made(self):
        asked = set()

        class Asked(attention_bars.Records):
            def _record(self, name):
                asked.add(name)
                raise attention_bars.Missing(name)

        attention_bars.judge(Asked(Path("none")), attention_bars.all_bars())
        script = (Path(TOOLS).parent / "scripts/gpu").read_text()
        made = set(re.findall(r"^ *(?:SHAPE=\S+ )?kernels (\w+) ", script, re.MULTILINE))
        self.assertLessEqual(asked, made | {"cuda_latency", "quality_key_stats"})
        self.assertIn("cuda_decode_mha", asked)

    def test_no_record_at_all(self):
        with self.assertRaises(SystemExit):
            judge({})


def latency_run(figures):
    return {"device": "cuda, a GPU", "ceilings": {"copy_gb_s": 3000}, "figures": figures}


def point(mode, tokens, **more):
    return {"attention": mode, "prompt_tokens": tokens, "batch": 1, **more}


def decode_ms(value):
    return {"decode_ms_median": value, "decode_ms_min": value, "decode_ms_p99": value}


def prefill_ms(value):
    return {"prefill_ms": value, "prefill_ms_min": value, "prefill_ms_max": value}


class RecordGpuTest(unittest.TestCase):
    RUNS = {
        "cuda_int8": latency_run([point("lserve", 8192, **decode_ms(7.0)),
                                  point("lserve", 262144, **decode_ms(7.8)),
                                  point("dense", 262144, does_not_fit="does not fit: 2 of 1")]),
        "cuda_prefill": latency_run([point("dense", 131072, **prefill_ms(11000)),
                                     point("lserve", 131072, **prefill_ms(7000))]),
        "cuda_ops": latency_run([point("lserve", 131072, decode_ops=[
            {"op": "rms_norm", "calls": 65, "us": 130},
            {"op": "silu_mul", "calls": 32, "us": 64, "bytes": 1000, "of_ceiling": 0.25},
            {"op": "linear 4096 x 4096", "calls": 32, "us": 640, "of_ceiling": 0.9}])]),
        "cuda_chunk_linear": {"figures": [
            {"metric": "linear qkv 6144 x 4096, 8192 rows", "baseline_microseconds": 1000},
            {"metric": "linear o 4096 x 4096, 8192 rows", "baseline_microseconds": 4000}]},
        "cuda_whole_attention": {"figures": [
            {"metric": "prefill_attention dense, bf16, context 131072, 131072 rows",
             "baseline_microseconds": 240000}]},
    }

    def record(self, runs):
        with tempfile.TemporaryDirectory() as folder:
            for name, run in runs.items():
                (Path(folder) / f"{name}.json").write_text(json.dumps(run))
            out = Path(folder) / "cuda_latency.json"
            record_gpu.main([folder, "--commit", "1234567", "--out", str(out)])
            return json.loads(out.read_text())

    def bars(self, record):
        bars = attention_bars.Records(Path("none"))
        bars.read["cuda_latency"] = record, {f["metric"]: f for f in record["figures"]}
        return attention_bars.judge(bars, attention_bars.latency_bars())

    def test_latencies_are_judged(self):
        record = self.record(self.RUNS)
        figures, missing, _ = self.bars(record)
        self.assertEqual(missing, {})
        # Vendors: 32 layers of 16 chunks of 5 ms, and of 240 ms: 2.56 s + 7.68 s.
        self.assertEqual([(f["value"], f["holds"]) for f in figures],
                         [(1.114, False), (0.636, True), (7, True), (1.074, True)])
        self.assertEqual(record["does_not_fit"],
                         {"decode int8 dense, 262144 tokens, batch 1": "does not fit: 2 of 1"})

    def test_what_was_not_measured_is_missing(self):
        runs = {**self.RUNS, "cuda_whole_attention": {"figures": [
            {"metric": "prefill_attention dense, bf16, context 131072, 131072 rows"}]}}
        _, missing, _ = self.bars(self.record(runs))
        self.assertEqual(list(missing),
                         ["prefill of 128K, dense, over the vendors' products and attention"])
        _, missing, _ = self.bars(self.record({"cuda_int8": self.RUNS["cuda_int8"]}))
        self.assertEqual(len(missing), 3)

    def test_operations_come_by_what_they_lose(self):
        ops = [f for f in self.record(self.RUNS)["figures"] if "calls" in f]
        self.assertEqual([f["metric"].split(": ")[1] for f in ops],
                         ["rms_norm", "linear 4096 x 4096", "silu_mul"])
        self.assertNotIn("a_layer_us", ops[0])
        self.assertEqual((ops[1]["a_layer_us"], ops[1]["over_ceiling_us"]), (20, 64))
        self.assertEqual((ops[2]["bytes"], ops[2]["over_ceiling_us"]), (1000, 48))


if __name__ == "__main__":
    unittest.main()
