"""What tools/record_deep_tests.py makes of the logs of a deep run, and that check_docs.py takes it."""

import json
import os
import tempfile
import unittest

import gate_tree  # noqa: F401  (makes tools/ importable)

import check_docs
import gate
import record_deep_tests as deep

FUZZ_LOG = """#2 INITED cov: 100 ft: 101 corp: 1/1b
#5000\tDONE   cov: 1234 ft: 2345 corp: 99/10Kb
Done 5000 runs in 601 second(s)
stat::number_of_executed_units: 5000
"""


class RecordDeepTestsTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = folder.name

    def write(self, name, text):
        path = os.path.join(self.root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    @staticmethod
    def values(figures):
        return {figure["metric"]: figure["value"] for figure in figures}

    def test_fuzz(self):
        good = self.write("fuzz_gguf.log", FUZZ_LOG)
        figures = deep.fuzz(0, [good])
        self.assertEqual(
            list(self.values(figures).values()), [601, 5000, 1234, 0], self.values(figures)
        )
        self.assertTrue(figures[-1]["holds"])
        crashed = self.write("fuzz_json.log", FUZZ_LOG + "SUMMARY: AddressSanitizer: heap-overflow\n")
        self.assertFalse(deep.fuzz(0, [crashed])[-1]["holds"])
        self.assertFalse(deep.fuzz(0, [self.write("fuzz_x.log", "no such file\n")])[-1]["holds"])

    def test_mutants(self):
        def killed(count, of):
            results = [{"killed_by": "t" if i < count else ""} for i in range(of)]
            path = self.write("mutants.json", json.dumps({"mutants": results}))
            return deep.mutants(0, [path])[0]["holds"]

        self.assertTrue(killed(20, 20))
        self.assertFalse(killed(20, 21))
        self.assertFalse(killed(19, 19))

    def test_properties(self):
        path = self.write("a.json", json.dumps({"tests": 5, "failures": 1, "errors": 0}))
        figures = deep.properties(10000, [path, path])
        self.assertEqual(list(self.values(figures).values()), [10000, 10, 2])
        self.assertFalse(figures[-1]["holds"])

    def test_a_part_replaces_its_own_figures_only(self):
        record = deep.merge({}, "tsan", deep.PARTS["tsan"](0, ["3", "1"]))
        record = deep.merge({"figures": record}, "tidy", deep.tidy(0, ["7", "0"]))
        record = deep.merge({"figures": record}, "tsan", deep.PARTS["tsan"](0, ["4", "0"]))
        self.assertEqual([figure["value"] for figure in record], [7, 0, 4, 0])

    def test_the_gate_takes_it(self):
        figures = deep.PARTS["tsan"](0, ["3", "0"]) + deep.fuzz(0, [self.write("fuzz_a.log", FUZZ_LOG)])
        record = {"name": "quality_deep_tests", "device": deep.device(), "commit": "a1b2c3d",
                  "date": "2026-11-24", "command": "scripts/test --deep", "figures": figures}
        self.write(deep.RECORD, json.dumps(record))
        tree = gate.Gate(self.root)
        self.assertEqual(len(check_docs.check_record(tree, deep.RECORD)), 6)
        self.assertEqual(tree.violations, [])


if __name__ == "__main__":
    unittest.main()
