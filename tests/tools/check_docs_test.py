"""Every rule of tools/check_docs.py, violated once."""

import json

from gate_tree import GateTest

import check_docs

RECORD = {
    "name": "cpu_first",
    "device": "a CPU",
    "commit": "a1b2c3d",
    "date": "2026-11-24",
    "command": "lserve bench latency",
    "figures": [
        {"metric": "decode dense 7k", "value": 2741.38, "unit": "tok/s", "ratio": 0.904},
        {"metric": "accuracy", "value": 0.975, "unit": "fraction", "limit": ">= 0.9", "holds": True},
    ],
}


def record(**changes):
    return json.dumps({**RECORD, **changes})


def figure(**changes):
    return record(figures=[{**RECORD["figures"][1], **changes}])


class CheckDocsTest(GateTest):
    module = check_docs
    path = "bench/results/cpu_first.json"
    good = {
        path: json.dumps(RECORD),
        "src/base/status.h": "",
        "tests/base/status_test.cc": "TEST(Status, Prints) {}\n"
        "TEST_P(Status, P1_Holds) {\n  for_each_case(test_cases_on_backend(300), body);\n}\n"
        "TEST(Status, P2_Default) {\n  for_each_case(test_cases(), body);\n}\n",
        "docs/properties.md": "# Properties\n| P1 | holds | `Status.P1_Holds` | 300 |\n"
        "| P1 | too | `Status.Prints` | by hand |\n| P2 | holds | `Status.P2_Default` | 1,000 each |\n",
        "docs/guide.md": "# Guide: part 1\nSee [the source](../src/base/status.h).\n",
        "README.md": "# Title\n[guide](docs/guide.md#guide-part-1) [web](https://example.org/x)\n"
        "`src/base/status.h` `base/status.h` `status.h` `build/release/lserve` `a/b` `x.json`\n"
        "[2,741 tok/s](<bench/results/cpu_first.json#decode dense 7k>)\n"
        "[2741.4](bench/results/cpu_first.json#decode%20dense%207k)\n"
        "[0.90x](<bench/results/cpu_first.json#decode dense 7k@ratio>)\n"
        "[97.5 %](bench/results/cpu_first.json#accuracy)\n"
        "```\n[gone](nowhere.md) 12 tok/s\n```\n",
    }

    def caught_in_readme(self, text, part):
        self.assert_caught({"README.md": f"# Title\n{text}\n"}, part)

    def test_good_tree(self):
        self.assert_accepted()

    def test_links(self):
        self.caught_in_readme("[x](docs/gone.md)", "link to nothing")
        self.caught_in_readme("![x](docs/gone.png)", "link to nothing")
        self.caught_in_readme("[x](docs/guide.md#gone)", "no heading #gone")
        self.caught_in_readme("[x](#gone)", "no heading #gone")

    def test_paths(self):
        self.caught_in_readme("`src/base/gone.h`", "no such path")
        self.caught_in_readme("`srcs/base/status.h`", "no such path")
        self.caught_in_readme("`docs/gone`", "no such path")
        self.caught_in_readme("`gone.h`", "no file is named")

    def test_figures(self):
        link = "bench/results/cpu_first.json#decode dense 7k"
        self.caught_in_readme(f"[2,742 tok/s](<{link}>)", "the record says 2741.38")
        self.caught_in_readme(f"[2741.3](<{link}>)", "the record says")
        self.caught_in_readme(f"[2,741 GB/s](<{link}>)", "the unit is")
        self.caught_in_readme(f"[fast](<{link}>)", "does not begin with a number")
        self.caught_in_readme("[2](<bench/results/cpu_first.json#gone>)", "has no metric")
        self.caught_in_readme("[0.91](<bench/results/cpu_first.json#decode dense 7k@ratio>)", "0.904")
        self.caught_in_readme("[1](bench/results/cpu_first.json#accuracy@ratio)", "no ratio")
        self.caught_in_readme("[98.1 %](bench/results/cpu_first.json#accuracy)", "the record says")

    def test_speed_without_record(self):
        for text in ("200 tokens/s", "3.13 TB/s", "740 TFLOP/s", "9.7 ms/token"):
            self.caught_in_readme(f"It reaches {text}.", "without its record")

    def test_names_of_tests(self):
        self.assert_accepted({"docs/guide.md": "# Guide: part 1\n`Status.Prints`\n"})
        self.caught_in_readme("`Status.Gone`", "no test is named Status.Gone")
        table = "docs/properties.md"
        good = self.good[table]
        self.assert_caught({table: good.replace("`Status.Prints`", "`Status.Gone`")}, "no test")
        self.assert_caught({table: good.replace("300", "400")}, "runs 300 cases, not 400")
        self.assert_caught({table: good.replace("1,000", "100")}, "runs 1000 cases, not 100")
        lacking = good.replace("| P1 | holds | `Status.P1_Holds` | 300 |\n", "")
        self.assert_caught({table: lacking}, "the table lacks Status.P1_Holds")

    def test_records(self):
        quiet = {"README.md": "# Title\n"}
        for text, part in (
            ("{", "no record"),
            ("[]", "no record"),
            (record(name="cpu_other"), '"name" must be'),
            (record(device=""), '"device" is missing'),
            (record(date=1), '"date" is missing'),
            (record(commit="pending"), "is no commit"),
            (figure(value="fast"), "needs a number"),
            (figure(unit=""), "and a unit"),
            (figure(holds=None), "go together"),
            (record(figures=[RECORD["figures"][0]] * 2), "comes twice"),
        ):
            self.assert_caught({**quiet, self.path: text}, part)
        self.assert_caught(
            {**quiet, "bench/results/misc.json": record(name="misc")}, "begin with one of"
        )
