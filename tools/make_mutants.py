#!/usr/bin/env python3
"""Writes a copy of src/ in which every mutant of tests/mutants can be turned on at run time.

  make_mutants.py --root . --out build/mutants/mutated
makes build/mutants/mutated/src. At each listed place the copy reads which mutant the environment
variable LSERVE_MUTANT chooses; so one build serves all of them. CMake runs it (the preset `mutants`);
files that stay the same keep their time, so that only what changed is built again.
"""

import argparse
import os
import sys

import mutants


def write(path, text):
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            if file.read() == text:
                return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def copy_tree(root, out, places):
    """Writes the files of root/src; removes from the copy what the tree no longer has."""
    wanted = {
        os.path.join(out, "src/base/mutant.h"): mutants.HEADER,
        os.path.join(out, "src/base/mutant.cc"): mutants.SOURCE,
    }
    for base, _, names in os.walk(os.path.join(root, "src")):
        for name in names:
            path = os.path.relpath(os.path.join(base, name), root).replace(os.sep, "/")
            text = read(os.path.join(root, path))
            if path in places:
                try:
                    text = mutants.mutate(text, places[path])
                except ValueError as error:
                    sys.exit(f"{path}: {error}")
            wanted[os.path.join(out, path)] = text
    for base, _, names in os.walk(os.path.join(out, "src")):
        for path in (os.path.join(base, name) for name in names):
            if path not in wanted:
                os.remove(path)
    for path, text in wanted.items():
        write(path, text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", required=True, help="the tree")
    parser.add_argument("--out", required=True, help="where the copy goes")
    args = parser.parse_args()
    places = mutants.by_place(mutants.load(read(os.path.join(args.root, mutants.LIST))))
    copy_tree(args.root, args.out, places)


if __name__ == "__main__":
    main()
