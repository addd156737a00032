"""Every rule of tools/check_mutants.py, violated once; and what a mutated source looks like."""

import json

from gate_tree import GateTest

import check_mutants
import mutants

SOURCE = "int twice(int x) {\n  if (x < 0) return 0;\n  return x *\n         2;\n}\n"


def entry(number, **changes):
    return {
        "id": number,
        "name": "adds",
        "file": "src/base/twice.cc",
        "original": "x * 2",
        "mutated": "x + 2",
        "like": "a slip",
        "tests": ["base_test Twice.*"],
        **changes,
    }


def entries(count=20, **changes):
    return [entry(1, **changes)] + [entry(i) for i in range(2, count + 1)]


class CheckMutantsTest(GateTest):
    module = check_mutants
    good = {"src/base/twice.cc": SOURCE, mutants.LIST: json.dumps(entries())}

    def caught(self, listed, part):
        self.assert_caught({mutants.LIST: json.dumps(listed)}, part)

    def test_good_tree(self):
        self.assert_accepted()

    def test_list(self):
        self.assert_caught({mutants.LIST: "["}, "Expecting value")
        self.caught(entries(19), "19 mutants, at least 20")
        self.caught(entries(id=3), "ids go 1, 2, 3")
        self.caught(entries(like=""), "lacks like")
        self.caught(entries(mutated="x * 2"), "changes nothing")

    def test_places(self):
        self.caught(entries(file="src/base/gone.cc"), "no such file: src/base/gone.cc")
        self.caught(entries(original="x * 3"), "occurs 0 times")
        self.caught(entries(original="return"), "occurs 2 times")
        self.caught(entries(original="return x * 2;"), "overlap")

    def test_what_is_written(self):
        statement = entry(2, original="if (x < 0) return 0;", mutated=";", statement=True)
        places = mutants.by_place([entry(1), statement, entry(3, mutated="x")])["src/base/twice.cc"]
        self.assertEqual(
            mutants.mutate(SOURCE, places),
            '#include "base/mutant.h"\nint twice(int x) {\n'
            "  if (::lserve::mutant_is(2)) { ; } else { if (x < 0) return 0; }\n"
            "  return (::lserve::mutant_is(3) ? (x) : ((::lserve::mutant_is(1) ? (x + 2) : "
            "(x *\n         2))));\n}\n",
        )
