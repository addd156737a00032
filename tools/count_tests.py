#!/usr/bin/env python3
"""Counts test results for scripts/test: prints "PASSED FAILED SKIPPED" on the first line, then one
line for every case that did not pass.

  count_tests.py gtest FILE...       the files that --gtest_output=json:FILE wrote
  count_tests.py unittest FOLDER     runs the *_test.py files of FOLDER
"""

import json
import os
import sys
import unittest


def first_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[0] if lines else ""


def count_gtest(paths):
    passed, notes_failed, notes_skipped = 0, [], []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            report = json.load(file)
        for suite in report.get("testsuites", []):
            for case in suite.get("testsuite", []):
                name = f"{suite['name']}.{case['name']}"
                if case.get("failures"):
                    notes_failed.append(f"FAILED {name}")
                elif case.get("result") == "SKIPPED" or case.get("status") == "NOTRUN":
                    reason = first_line(case.get("skipped", [{}])[0].get("message", ""))
                    notes_skipped.append(f"skipped {name} {reason}".rstrip())
                else:
                    passed += 1
    return passed, notes_failed, notes_skipped


def count_unittest(folder):
    sys.path.insert(0, folder)
    suite = unittest.defaultTestLoader.discover(folder, pattern="*_test.py", top_level_dir=folder)
    total = suite.countTestCases()
    result = unittest.TextTestRunner(stream=sys.stderr, verbosity=1).run(suite)
    failed = [f"FAILED {test.id()}" for test, _ in result.failures + result.errors]
    skipped = [f"skipped {test.id()} {reason}" for test, reason in result.skipped]
    return max(0, total - len(failed) - len(skipped)), failed, skipped


def main(argv):
    if len(argv) < 3 or argv[1] not in ("gtest", "unittest"):
        print(__doc__, file=sys.stderr)
        return 2
    if argv[1] == "gtest":
        passed, failed, skipped = count_gtest(argv[2:])
    else:
        passed, failed, skipped = count_unittest(os.path.abspath(argv[2]))
    print(passed, len(failed), len(skipped))
    for note in failed + skipped:
        print("  " + note)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
