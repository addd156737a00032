"""Shared by the tools of the mutants: the list of deliberate bugs, and putting them into a source.

tests/mutants/mutants.json is a list of
  id        its number, from 1; LSERVE_MUTANT chooses it at run time, 0 is none
  name      what is wrong
  file      the source file
  original  text that occurs exactly once in the file: an expression, or a whole statement if
            "statement" is true
  mutated   what stands there instead
  like      the bug that was really made, somewhere, of that kind
  tests     what must fail: "program filter" of a GoogleTest program, tried in this order
Several mutants may share one original.
"""

import json

LIST = "tests/mutants/mutants.json"
FIELDS = ("id", "name", "file", "original", "mutated", "like", "tests")
INCLUDE = '#include "base/mutant.h"\n'
HEADER = """// Written by tools/make_mutants.py: which of the deliberate bugs is on.
#pragma once

namespace lserve {

extern const int kActiveMutant;  // of the environment variable LSERVE_MUTANT; 0: none
static inline bool mutant_is(int id) { return kActiveMutant == id; }

}  // namespace lserve
"""
SOURCE = """// Written by tools/make_mutants.py.
#include "base/mutant.h"

#include <cstdlib>

namespace lserve {

const int kActiveMutant = [] {
  const char* text = std::getenv("LSERVE_MUTANT");
  return text == nullptr ? 0 : std::atoi(text);
}();

}  // namespace lserve
"""


def load(text):
    """The list; raises ValueError with what is wrong with it."""
    mutants = json.loads(text)
    for number, mutant in enumerate(mutants, 1):
        missing = [field for field in FIELDS if not mutant.get(field)]
        if missing:
            raise ValueError(f"mutant {number} lacks {', '.join(missing)}")
        if mutant["id"] != number:
            raise ValueError(f"ids go 1, 2, 3, ...: {mutant['id']} is number {number}")
        if mutant["original"] == mutant["mutated"]:
            raise ValueError(f"mutant {number} changes nothing")
    return mutants


def by_place(mutants):
    """{file: {original: [mutants]}}"""
    places = {}
    for mutant in mutants:
        places.setdefault(mutant["file"], {}).setdefault(mutant["original"], []).append(mutant)
    return places


def flat(text):
    """Runs of white space become one blank, so that a line break does not matter; and where each
    character came from."""
    out, origin = [], []
    for i, char in enumerate(text):
        if char.isspace():
            if out and out[-1] == " ":
                continue
            char = " "
        out.append(char)
        origin.append(i)
    return "".join(out), origin


def find(text, original):
    """(begin, end) of the only occurrence; raises ValueError where there is not just one."""
    code, origin = flat(text)
    wanted = flat(original)[0].strip()
    count = code.count(wanted)
    if count != 1:
        raise ValueError(f"occurs {count} times, not once: {original}")
    begin = code.index(wanted)
    return origin[begin], origin[begin + len(wanted) - 1] + 1


def replacement(mutants, original):
    """What stands in place of a text that these mutants change."""
    text = original
    for mutant in mutants:
        if mutant.get("statement"):
            chosen = f"if (::lserve::mutant_is({mutant['id']})) {{ {mutant['mutated']} }}"
            text = f"{chosen} else {{ {text} }}"
        else:
            text = f"(::lserve::mutant_is({mutant['id']}) ? ({mutant['mutated']}) : ({text}))"
    return text


def mutate(text, places):
    """A source with all of its mutants; `places` is {original: [mutants]}."""
    cuts = sorted((*find(text, original), mutants) for original, mutants in places.items())
    out, at = [INCLUDE], 0
    for begin, end, mutants in cuts:
        if begin < at:
            raise ValueError(f"two mutants overlap: {text[begin:end]}")
        out += [text[at:begin], replacement(mutants, text[begin:end])]
        at = end
    return "".join(out) + text[at:]
