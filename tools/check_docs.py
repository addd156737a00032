#!/usr/bin/env python3
"""Gate: what the documents name exists, and every figure they quote is recorded.

A figure is quoted as a link to the record's metric; spaces of its name are allowed inside <>:
  [2,741 GB/s](<bench/results/cuda_decode_attention.json#decode dense kv16 128k b1>)
The number must be the record's value, rounded to the printed digits, the unit the record's. "@ratio"
after the metric quotes its ratio. A fraction may be printed in %. A measured speed that is no such
link is a violation, as is a record that is not of the documented form.

A code span like `Suite.Name` names a test of tests/, which must exist. docs/properties.md names every
test whose name begins with a property's number (P5_...), and says how many cases it runs.
"""

import json
import os
import re
import urllib.parse
from decimal import Decimal, InvalidOperation

import gate

RECORDS = "bench/results"
SUBJECTS = ("cpu_", "cuda_", "attention_", "lowbit_", "serving_", "quality_")
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((<[^>]*>|[^)\s]*)\)|!\[([^\]]*)\]\(([^)\s]*)\)")
CODE_SPAN = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"^\.?[\w.+-]+(/[\w.+-]+)*/?$")
SOURCE_ENDINGS = (".h", ".cc", ".cu", ".cuh", ".py", ".md")
# A number with a unit of speed: only a measurement can tell it.
SPEED = re.compile(
    r"\d[\d.,]*\s*(tok/s|tokens/s|tokens per second|[kKMGT]i?B/s|[GT]B per second"
    r"|[GT]FLOPS?(/s)?|[GT]OPS?(/s)?|ms/token|[mun]s per token)(?![\w/])"
)
NUMBER = re.compile(r"^\s*(?:about )?(-?\d[\d,]*(?:\.\d+)?)\s*(.*?)\s*$")
COMMIT = re.compile(r"^[0-9a-f]{7,40}$")
PROPERTIES = "docs/properties.md"
TEST_NAME = re.compile(r"^[A-Z]\w*\.[A-Z]\w*$")
TEST_HEAD = re.compile(r"^(?:TEST|TEST_F|TEST_P)\((\w+), (\w+)\)", re.MULTILINE)
# A row of the table:  | P5 | what it says | `Suite.Name` | 1,000 or how else |
TEST_ROW = re.compile(r"^\|[^|]*\|[^|]*\|\s*`([\w.]+)`\s*\|\s*([\d,]*)[^|]*\|\s*$")
# The cases that a test runs:  test_cases(), test_cases(slow ? 30 : 300), test_cases_on_backend(1000)
CASES = re.compile(r"\btest_cases\w*\((?:.{1,40} \? \d+ : )?(\d*)\)")
DEFAULT_CASES = 1000


def without_code_blocks(text):
    """Blanks fenced blocks; lines stay numbered."""
    out, fence = [], None
    for line in text.split("\n"):
        mark = re.match(r"^\s*(```+|~~~+)", line)
        if mark and fence is None:
            fence = mark.group(1)
        elif mark and line.strip().startswith(fence):
            fence, line = None, ""
        out.append("" if fence else line)
    return "\n".join(out)


def anchors(text):
    """The anchors of a document's headings, as GitHub makes them."""
    found = set()
    for line in without_code_blocks(text).split("\n"):
        heading = re.match(r"^#+\s+(.*)", line)
        if heading:
            name = re.sub(r"[^\w\- ]", "", heading.group(1).strip().lower())
            found.add(name.replace(" ", "-"))
    return found


def check_record(gate_, path):
    """Returns {metric: figure}, reporting what is not of the documented form."""
    try:
        record = json.loads(gate_.read(path))
        figures = record["figures"]
    except (ValueError, KeyError, TypeError) as error:
        gate_.report(path, 0, f"no record: {error!r}")
        return {}
    name = os.path.basename(path)[: -len(".json")]
    if record.get("name") != name or not name.startswith(SUBJECTS):
        gate_.report(path, 0, f'"name" must be "{name}" and begin with one of {SUBJECTS}')
    for key in ("device", "commit", "date", "command"):
        if not isinstance(record.get(key), str) or not record[key]:
            gate_.report(path, 0, f'"{key}" is missing')
    if not COMMIT.match(str(record.get("commit"))):
        gate_.report(path, 0, f'"commit" is no commit: {record.get("commit")}')
    metrics = {}
    for figure in figures:
        metric = figure.get("metric")
        if not isinstance(figure.get("value"), (int, float)) or not figure.get("unit"):
            gate_.report(path, 0, f'figure "{metric}" needs a number as value, and a unit')
            continue
        if ("limit" in figure) != isinstance(figure.get("holds"), bool):
            gate_.report(path, 0, f'figure "{metric}": "limit" and "holds" go together')
        if metric in metrics:
            gate_.report(path, 0, f'metric "{metric}" comes twice')
        metrics[metric] = figure
    return metrics


def check_quote(text, figure, wants_ratio):
    """None, or what is wrong with a quoted figure."""
    match = NUMBER.match(text)
    if not match:
        return f'"{text}" does not begin with a number'
    value = figure.get("ratio") if wants_ratio else figure["value"]
    unit = "x" if wants_ratio else figure["unit"]
    if value is None:
        return "the record has no ratio"
    try:
        printed = Decimal(match.group(1).replace(",", ""))
        recorded = Decimal(repr(value))
    except InvalidOperation:
        return "no number"
    if match.group(2) == "%" and unit in ("fraction", "x"):
        recorded *= 100
    elif match.group(2) not in ("", unit):
        return f'the unit is "{unit}", not "{match.group(2)}"'
    half_a_digit = Decimal(1).scaleb(printed.as_tuple().exponent) / 2
    if abs(printed - recorded) > half_a_digit:
        return f"the record says {recorded.normalize():f} {unit}"
    return None


def check_link(gate_, records, path, line, text, target):
    if re.match(r"^(https?|mailto):", target):
        return
    target, _, fragment = target.strip("<>").partition("#")
    fragment = urllib.parse.unquote(fragment)
    resolved = os.path.normpath(os.path.join(os.path.dirname(path), urllib.parse.unquote(target)))
    resolved = path if not target else resolved.replace(os.sep, "/")
    if not gate_.exists(resolved):
        gate_.report(path, line, f"link to nothing: {target}")
    elif resolved in records and fragment:
        wants_ratio = fragment.endswith("@ratio")
        metric = fragment[: -len("@ratio")] if wants_ratio else fragment
        if metric not in records[resolved]:
            gate_.report(path, line, f'{resolved} has no metric "{metric}"')
            return
        problem = check_quote(text, records[resolved][metric], wants_ratio)
        if problem:
            gate_.report(path, line, f"[{text}]: {problem}")
    elif fragment and resolved.endswith(".md"):
        if fragment not in anchors(gate_.read(resolved)):
            gate_.report(path, line, f"no heading #{fragment} in {resolved}")


def check_code_span(gate_, tree, path, line, span):
    """A code span that looks like a path of the tree must be one."""
    first = span.split("/")[0]
    if TEST_NAME.match(span) and not gate_.exists(span):
        if span not in tree["tests"]:
            gate_.report(path, line, f"no test is named {span}")
        return
    if not PATH.match(span) or first in ("build", "..", "."):
        return
    if "/" not in span:
        if span.endswith(SOURCE_ENDINGS) and span not in tree["names"]:
            gate_.report(path, line, f"no file is named {span}")
        return
    near = os.path.dirname(path)
    places = [span, f"src/{span}", f"{near}/{span}" if near else span]
    if any(gate_.exists(place) for place in places):
        return
    if first in tree["folders"] or span.endswith(SOURCE_ENDINGS):
        gate_.report(path, line, f"no such path: {span}")


def check_document(gate_, records, tree, path):
    text = without_code_blocks(gate_.read(path))
    for number, line in enumerate(text.split("\n"), 1):
        for match in LINK.finditer(line):
            label = match.group(1) if match.group(2) is not None else match.group(3)
            target = match.group(2) if match.group(2) is not None else match.group(4)
            check_link(gate_, records, path, number, label or "", target)
        plain = LINK.sub("", line)
        for match in CODE_SPAN.finditer(plain):
            check_code_span(gate_, tree, path, number, match.group(1).strip())
        speed = SPEED.search(CODE_SPAN.sub("", plain))
        if speed:
            gate_.report(path, number, f'"{speed.group(0)}" is quoted without its record')


def find_tests(gate_):
    """{Suite.Name: its cases, or None where it does not say}, of the GoogleTest programs."""
    found = {}
    for path in gate_.files("tests", ("_test.cc",)):
        text = gate_.read(path)
        heads = list(TEST_HEAD.finditer(text))
        for head, after in zip(heads, [*heads[1:], None]):
            cases = CASES.search(text, head.end(), after.start() if after else len(text))
            number = int(cases.group(1) or DEFAULT_CASES) if cases else None
            found[f"{head.group(1)}.{head.group(2)}"] = number
    return found


def check_properties(gate_, tests):
    """The table of the properties against the tests."""
    if not gate_.exists(PROPERTIES):
        return
    listed = set()
    for number, line in enumerate(gate_.read(PROPERTIES).split("\n"), 1):
        row = TEST_ROW.match(line)
        if not row:
            continue
        name, cases = row.group(1), row.group(2).replace(",", "")
        listed.add(name)
        if cases and name in tests and int(cases) != tests[name]:
            gate_.report(PROPERTIES, number, f"{name} runs {tests[name]} cases, not {cases}")
    for name in sorted(tests):
        if re.match(r"P\d+_", name.split(".")[1]) and name not in listed:
            gate_.report(PROPERTIES, 0, f"the table lacks {name}")


def check(gate_):
    records = {p: check_record(gate_, p) for p in gate_.files(RECORDS, (".json",))}
    everything = gate_.files("", ("",))
    tree = {
        "names": {os.path.basename(p) for p in everything},
        "folders": {p.split("/")[0] for p in everything if "/" in p}
        | {p.split("/")[1] for p in everything if p.startswith("src/") and p.count("/") > 1},
        "tests": find_tests(gate_),
    }
    check_properties(gate_, tree["tests"])
    for path in gate_.files("", (".md",)):
        check_document(gate_, records, tree, path)


if __name__ == "__main__":
    gate.run(__doc__, check)
