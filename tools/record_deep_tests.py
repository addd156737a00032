#!/usr/bin/env python3
"""Puts what a part of `scripts/test --deep` found into bench/results/quality_deep_tests.json.

  record_deep_tests.py --cases 10000 --commit a1b2c3d [--how TEXT] PART ARGUMENT...
    properties FILE...   results of the test programs, GoogleTest's JSON
    mutants FILE         what tools/run_mutants.py wrote
    asan|tsan GOOD BAD   how many test programs were clean, and how many not
    tidy FILES STATUS    how many files were read; 0: nothing was found
    fuzz LOG...          libFuzzer's logs with -print_final_stats=1
The figures of a part replace those of its earlier run; other parts may be of another commit, so each
figure names its own, and how it was made where that is not the record's command.
"""

import argparse
import datetime
import json
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RECORD = "bench/results/quality_deep_tests.json"


def figure(metric, value, unit, limit=None, holds=None):
    made = {"metric": metric, "value": value, "unit": unit}
    return made if limit is None else {**made, "limit": limit, "holds": holds}


def failures(metric, count):
    return figure(metric, count, "failures", "0", count == 0)


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def properties(cases, files):
    results = [load(path) for path in files]
    tests = sum(result["tests"] for result in results)
    failed = sum(result["failures"] + result["errors"] for result in results)
    return [
        figure("properties: cases for every 1,000 of the normal run", cases, "cases"),
        figure("properties: tests run", tests, "tests"),
        failures("properties: tests failed", failed),
    ]


def mutants(_, files):
    results = load(files[0])["mutants"]
    killed = sum(1 for result in results if result["killed_by"])
    limit = f"all {len(results)}, at least 20"
    return [
        figure("mutants: killed", killed, "mutants", limit, killed == len(results) and killed >= 20)
    ]


def sanitizer(name):
    def figures(_, counts):
        good, bad = (int(word) for word in counts)
        return [
            figure(f"{name}: clean test programs", good, "programs"),
            failures(f"{name}: other test programs", bad),
        ]

    return figures


def tidy(_, counts):
    files, status = (int(word) for word in counts)
    return [figure("tidy: files read", files, "files"), failures("tidy: runs with findings", status)]


def last_number(pattern, text):
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def fuzz(_, logs):
    figures = []
    for path in logs:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
        target = os.path.basename(path)[: -len(".log")]
        executions = last_number(r"stat::number_of_executed_units:\s*(\d+)", text)
        broken = len(re.findall(r"^SUMMARY: ", text, re.MULTILINE))
        if not executions and not broken:
            broken = 1  # it did not even begin
        figures += [
            figure(f"{target}: seconds", last_number(r"runs in (\d+) second", text), "s"),
            figure(f"{target}: executions", executions, "executions"),
            figure(f"{target}: edges covered", last_number(r"\bcov: (\d+)", text), "edges"),
            failures(f"{target}: crashes, leaks, time-outs", broken),
        ]
    return figures


PARTS = {
    "properties": properties,
    "mutants": mutants,
    "asan": sanitizer("asan"),
    "tsan": sanitizer("tsan"),
    "tidy": tidy,
    "fuzz": fuzz,
}


def device():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = re.findall(r"^model name\s*: (.*)$", file.read(), re.MULTILINE)
    return f"{names[0]}, {len(names)} CPUs" if names else "unknown CPU"


def merge(record, part, figures):
    """The record with this part's figures in place of its old ones."""
    prefix = "fuzz_" if part == "fuzz" else part + ":"
    kept = [f for f in record.get("figures", []) if not f["metric"].startswith(prefix)]
    return kept + figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", type=int, required=True)
    parser.add_argument("--commit", required=True)
    parser.add_argument("--how", help="where it was not scripts/test --deep itself that ran")
    parser.add_argument("part", choices=sorted(PARTS))
    parser.add_argument("arguments", nargs="*")
    args = parser.parse_args()
    path = os.path.join(ROOT, RECORD)
    record = load(path) if os.path.exists(path) else {}
    common = {"commit": args.commit, **({"how": args.how} if args.how else {})}
    figures = [{**f, **common} for f in PARTS[args.part](args.cases, args.arguments)]
    record = {
        "name": "quality_deep_tests",
        "device": device(),
        "commit": args.commit,
        "date": datetime.date.today().isoformat(),
        "command": "scripts/test --deep",
        "seed": int(os.environ.get("LSERVE_TEST_SEED", 20250220)),
        "figures": merge(record, args.part, figures),
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(record, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
