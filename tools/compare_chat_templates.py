#!/usr/bin/env python3
"""Renders random templates with jinja2 and with the project's interpreter, and compares.

    compare_chat_templates.py --program <build>/tests/render_templates --count 100000 --seed 1
        [--save <tests/data/tokenizer/chat/random.jsonl> --save-count 300]
        [--record <bench/results/quality_chat_templates.json>] [--corpus <file.jsonl> ...]

A template that one renders and the other does not, or that they render differently, is a mismatch;
so is a refusal ("not supported") of what jinja2 renders, unless jinja2 printed an address of memory
or took a constant apart when it compiled the template.
Texts are equal byte for byte. Needs transformers (chat_template_oracle.py).
"""

import argparse
import collections
import datetime
import json
import platform
import random
import re
import subprocess
import sys

import chat_template_oracle
import random_templates

ADDRESS = re.compile(
    r"0x[0-9a-f]{6,}|<built-in method|<function|<class |generator object|LoopContext"
)
BOUNDED = (
    "64 bits",
    "out of range",
    "steps",
    "nested more than",
    "bytes in all",
    "bytes of output",
    "no real result",
)


MISMATCHES = ("different", "only we fail", "only jinja2 fails", "refused")


def classify(expected, error, answer):
    """One word for what became of a template."""
    if expected is None:
        return "both fail" if "error" in answer else "only jinja2 fails"
    if ADDRESS.search(expected):
        return "address printed"
    if "text" in answer:
        return "equal" if answer["text"] == expected else "different"
    if any(word in answer["error"] for word in BOUNDED):
        return "bounded"
    # jinja2 evaluates constants beforehand, and takes a slice of what has none for undefined.
    if "a slice of" in answer["error"]:
        return "constant folded"
    # Printed where nobody sees it, in a block that is thrown away.
    if "printing a" in answer["error"]:
        return "address printed"
    return "refused" if "not supported" in answer["error"] else "only we fail"


def run_program(program, rows):
    lines = "".join(json.dumps(row, ensure_ascii=True) + "\n" for row in rows)
    done = subprocess.run([program], input=lines, capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in done.stdout.split("\n") if line]
    assert len(answers) == len(rows), done.stderr
    return answers


def compare(program, rows, counts, show):
    results = []
    for row, answer in zip(rows, run_program(program, rows)):
        expected, error = chat_template_oracle.render(row)
        verdict = classify(expected, error, answer)
        counts[verdict] += 1
        results.append((row, expected, verdict))
        if verdict in MISMATCHES and show[0] > 0:
            show[0] -= 1
            print(
                f"--- {verdict}\n{row['source']!r}\n"
                f"jinja2: {expected!r} {error or ''}\nours:   {answer}",
                file=sys.stderr,
            )
    return results


def interesting(results, count):
    """The shortest templates of each new combination of constructs."""
    words = re.compile(r"\{%[-+]? ?(\w+)|\| ?(\w+)|is (?:not )?(\w+)|\.(\w+)\(")
    seen, chosen = collections.Counter(), []
    for row, expected, verdict in sorted(results, key=lambda r: len(r[0]["source"])):
        if verdict not in ("equal", "both fail"):
            continue
        parts = {next(filter(None, m.groups())) for m in words.finditer(row["source"])}
        if parts and min(seen[p] for p in parts) < 3:
            seen.update(parts)
            chosen.append({**row, **({} if expected is None else {"text": expected})})
        if len(chosen) == count:
            break
    return chosen


def record(path, args, counts):
    """What was compared, and all that was not."""
    mismatches = sum(counts[verdict] for verdict in MISMATCHES)
    compared = counts["equal"] + counts["both fail"] + mismatches
    figures = [
        {
            "metric": "random templates compared with jinja2",
            "value": compared,
            "unit": "templates",
            "limit": ">= 100000",
            "holds": compared >= 100000,
        },
        {
            "metric": "of these, rendered differently or in one renderer only",
            "value": mismatches,
            "unit": "templates",
            "limit": "0",
            "holds": mismatches == 0,
        },
    ]
    others = [
        ("of these, equal texts", "equal"),
        ("of these, fail in both (the messages are not compared)", "both fail"),
        ("not compared: refused here for a limit of 64 bits or of work", "bounded"),
        ("not compared: jinja2 printed an address of memory", "address printed"),
        ("not compared: jinja2 took a constant apart at compile time", "constant folded"),
    ]
    for metric, verdict in others:
        figures.append({"metric": metric, "value": counts[verdict], "unit": "templates"})
    import jinja2

    study = {
        "name": "quality_chat_templates",
        "device": platform.processor() or platform.machine(),
        "driver": f"jinja2 {jinja2.__version__}, Python {platform.python_version()}",
        "commit": "pending",
        "date": datetime.date.today().isoformat(),
        "command": f"tools/compare_chat_templates.py --count {args.count} --seed {args.seed}",
        "seed": args.seed,
        "figures": figures,
    }
    with open(path, "w", encoding="utf-8") as out:
        json.dump(study, out, indent=1)
        out.write("\n")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--program", required=True)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=10)
    parser.add_argument("--save")
    parser.add_argument("--save-count", type=int, default=300)
    parser.add_argument("--record")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    counts, kept, show = collections.Counter(), [], [args.show]
    batch = 2000
    for begin in range(0, args.count, batch):
        rows = [random_templates.random_row(rng) for _ in range(min(batch, args.count - begin))]
        results = compare(args.program, rows, counts, show)
        if args.save:
            kept = interesting_pool(kept, results)
    print(dict(counts))
    if args.save:
        with open(args.save, "w", encoding="utf-8") as out:
            for row in interesting(kept, args.save_count):
                out.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
    if args.record:
        record(args.record, args, counts)


def interesting_pool(kept, results):
    short = [r for r in results if len(r[0]["source"]) < 400]
    return (kept + short)[:40000]


if __name__ == "__main__":
    main()
