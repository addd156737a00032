"""tools/record_lowbit.py: bars hold or do not by the figures, and what was cut is left out."""

import json
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import record_lowbit  # noqa: E402


def answer(figures):
    return {"device": "a device", "ceilings": {"copy_gb_s": 3000}, "figures": figures}


def step(tokens, milliseconds):
    return {"attention": "lserve", "prompt_tokens": tokens, "batch": 1,
            "decode_ms_median": milliseconds, "decode_ms_min": milliseconds - 0.1,
            "decode_ms_p99": milliseconds + 0.1, "decode_of_ceiling": 0.75}


class RecordLowbit(unittest.TestCase):
    def record(self, files):
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                text = content if isinstance(content, str) else json.dumps(content)
                (Path(folder) / f"{name}.json").write_text(text)
            out = Path(folder) / "lowbit_latency.json"
            record_lowbit.main([folder, "--commit", "a1b2c3d", "--out", str(out)])
            record = json.loads(out.read_text())
        return record, {figure["metric"]: figure for figure in record["figures"]}

    def test_bars(self):
        record, figures = self.record({
            "lowbit_w8a8_int8": answer([step(131072, 3.6), step(262144, 3.7)]),
            "lowbit_w4a8_int4": answer([step(131072, 2.4), step(262144, 2.6)]),
            "lowbit_prefill_fp8": answer([{"attention": "lserve", "prompt_tokens": 131072,
                                           "prefill_ms": 6200}])})
        self.assertEqual(record["commit"], "a1b2c3d")
        missed = figures["decode w8a8, int8 cache, lserve, 131072 tokens, batch 1"]
        self.assertEqual((missed["limit"], missed["holds"]), ("<= 3.4", False))
        self.assertIn("bandwidth", missed["why"])
        self.assertTrue(
            figures["decode w4a8, int4 cache, lserve, 131072 tokens, batch 1"]["holds"])
        self.assertTrue(figures["decode w8a8, int8 cache: 256K over 128K"]["holds"])
        self.assertFalse(figures["decode w4a8, int4 cache: 256K over 128K"]["holds"])
        self.assertTrue(figures["prefill fp8, lserve, 131072 tokens"]["holds"])

    def test_what_was_cut_or_does_not_fit_is_left_out(self):
        record, figures = self.record({
            "lowbit_w8a8_int8": answer([step(131072, 3.3),
                                        {"attention": "lserve", "prompt_tokens": 262144, "batch": 1,
                                         "does_not_fit": "needs more"}]),
            "lowbit_w4a8_int4": ""})
        self.assertEqual(list(figures), ["decode w8a8, int8 cache, lserve, 131072 tokens, batch 1"])
        self.assertEqual(list(record["ceilings"]), ["w8a8_int8"])

    def test_nothing_measured(self):
        with tempfile.TemporaryDirectory() as folder, self.assertRaises(SystemExit):
            record_lowbit.main([folder, "--commit", "a1b2c3d"])


if __name__ == "__main__":
    unittest.main()
