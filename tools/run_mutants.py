#!/usr/bin/env python3
"""Runs the tests against every mutant of tests/mutants: each one must make a test fail.

  run_mutants.py --programs build/mutants/tests [--only 3,17] [--json FILE]
First the tests that any mutant names run without one and must pass. Then each mutant runs its own,
one after the other, until one fails. A crash and a time-out count as failures. Exits with 1 if a mutant
survives, or if the tests fail without one.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time

import mutants

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Runner:
    def __init__(self, programs, cases, timeout):
        self.programs = programs
        self.cases = cases
        self.timeout = timeout

    def failure(self, mutant, test):
        """Empty if "program filter" passes, otherwise what failed."""
        program, pattern = test.split(" ", 1)
        command = [os.path.join(self.programs, program), f"--gtest_filter={pattern}"]
        command += ["--gtest_fail_fast", "--gtest_color=no"]
        environment = {
            **os.environ,
            "LSERVE_MUTANT": str(mutant),
            "LSERVE_TEST_CASES": str(self.cases),
        }
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=self.timeout,
                errors="replace", cwd=ROOT, check=False,
            )
        except subprocess.TimeoutExpired:
            return f"{program}: time-out"
        if "[==========] Running 0 tests" in done.stdout:
            sys.exit(f"{program}: no test matches {pattern}")
        if done.returncode == 0:
            return ""
        failed = re.findall(r"^\[  FAILED  \] ([\w/.]+)", done.stdout, re.MULTILINE)
        if failed:
            return f"{program}: {failed[0]}"
        begun = re.findall(r"^\[ RUN      \] ([\w/.]+)", done.stdout, re.MULTILINE)
        return f"{program}: died in {begun[-1] if begun else 'start-up'}"


def without_mutant(runner, chosen):
    """All tests of these mutants, program by program."""
    patterns = {}
    for test in (test for mutant in chosen for test in mutant["tests"]):
        program, pattern = test.split(" ", 1)
        if pattern not in patterns.setdefault(program, []):
            patterns[program].append(pattern)
    for program, filters in patterns.items():
        failed = runner.failure(0, f"{program} {':'.join(filters)}")
        if failed:
            return failed
    return ""


def run(runner, chosen):
    """[{id, name, killed_by}]"""
    results = []
    for mutant in chosen:
        start = time.monotonic()
        killed_by = ""
        for test in mutant["tests"]:
            killed_by = runner.failure(mutant["id"], test)
            if killed_by:
                break
        results.append({"id": mutant["id"], "name": mutant["name"], "killed_by": killed_by})
        verdict = f"killed by {killed_by}" if killed_by else "SURVIVED"
        seconds = time.monotonic() - start
        print(f"{mutant['id']:3} {mutant['name']}: {verdict} ({seconds:.1f} s)", flush=True)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--programs", required=True, help="folder of the test programs")
    parser.add_argument("--only", default="", help="ids, separated by commas")
    parser.add_argument("--cases", type=int, default=200, help="LSERVE_TEST_CASES")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for one program")
    parser.add_argument("--json", help="the results as a file")
    args = parser.parse_args()
    with open(os.path.join(ROOT, mutants.LIST), encoding="utf-8") as file:
        chosen = mutants.load(file.read())
    if args.only:
        ids = {int(word) for word in args.only.split(",")}
        chosen = [mutant for mutant in chosen if mutant["id"] in ids]
    runner = Runner(args.programs, args.cases, args.timeout)
    failed = without_mutant(runner, chosen)
    if failed:
        sys.exit(f"without a mutant: {failed}")
    results = run(runner, chosen)
    killed = sum(1 for result in results if result["killed_by"])
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"mutants": results}, file, indent=1)
    print(f"{killed} of {len(results)} mutants killed")
    sys.exit(0 if killed == len(results) else 1)


if __name__ == "__main__":
    main()
