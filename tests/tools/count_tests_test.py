"""tools/count_tests.py: what scripts/test believes."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

TOOL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools/count_tests.py")


class CountTestsTest(unittest.TestCase):
    def count(self, kind, files):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                    file.write(text)
            target = os.path.join(folder, "r.json") if kind == "gtest" else folder
            done = subprocess.run(
                [sys.executable, TOOL, kind, target], capture_output=True, text=True, check=False
            )
        return done.returncode, done.stdout

    def test_gtest(self):
        cases = [
            {"name": "A", "status": "RUN", "result": "COMPLETED"},
            {"name": "B", "status": "RUN", "result": "COMPLETED", "failures": [{"failure": "x"}]},
            {"name": "C", "status": "RUN", "result": "SKIPPED", "skipped": [{"message": "no file"}]},
            {"name": "D", "status": "NOTRUN", "result": "SUPPRESSED"},
        ]
        report = json.dumps({"testsuites": [{"name": "S", "testsuite": cases}]})
        code, out = self.count("gtest", {"r.json": report})
        self.assertEqual(code, 1)
        self.assertEqual(out.splitlines()[0], "1 1 2")
        self.assertIn("FAILED S.B", out)
        self.assertIn("skipped S.C no file", out)

    def test_unittest(self):
        text = (
            "import unittest\n"
            "class T(unittest.TestCase):\n"
            "  def test_a(self): pass\n"
            "  def test_b(self): self.fail()\n"
            "  @unittest.skip('why')\n"
            "  def test_c(self): pass\n"
        )
        code, out = self.count("unittest", {"x_test.py": text})
        self.assertEqual((code, out.splitlines()[0]), (1, "1 1 1"))

    def test_a_file_that_does_not_import_is_a_failure(self):
        code, out = self.count("unittest", {"x_test.py": "import no_such_module_here\n"})
        self.assertEqual((code, out.splitlines()[0]), (1, "0 1 0"))


if __name__ == "__main__":
    unittest.main()
