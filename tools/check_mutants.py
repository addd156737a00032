#!/usr/bin/env python3
"""Gate: every mutant of tests/mutants still fits the source.

Its original text occurs exactly once, no two overlap, and there are at least twenty.
"""

import gate
import mutants

LEAST = 20


def check_file(gate_, path, places):
    if not gate_.exists(path):
        gate_.report(mutants.LIST, 0, f"no such file: {path}")
        return
    text = gate_.read(path)
    fit = {}
    for original, changes in places.items():
        try:
            mutants.find(text, original)
            fit[original] = changes
        except ValueError as error:
            ids = ", ".join(str(m["id"]) for m in changes)
            gate_.report(path, 0, f"mutant {ids}: {error}")
    try:
        mutants.mutate(text, fit)
    except ValueError as error:
        gate_.report(path, 0, str(error))


def check(gate_):
    try:
        everything = mutants.load(gate_.read(mutants.LIST))
    except ValueError as error:
        gate_.report(mutants.LIST, 0, str(error))
        return
    if len(everything) < LEAST:
        gate_.report(mutants.LIST, 0, f"{len(everything)} mutants, at least {LEAST}")
    for path, places in mutants.by_place(everything).items():
        check_file(gate_, path, places)


if __name__ == "__main__":
    gate.run(__doc__, check)
