"""A tree of a few files in a temporary folder, and what a gate says of it."""

import os
import sys
import tempfile
import unittest

sys.path.insert(
    0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir, "tools")
)

import gate  # noqa: E402  (the path above comes first)


class GateTest(unittest.TestCase):
    """Subclasses set `module` to the gate, and `good` to a tree that it accepts."""

    module = None
    good = {}

    def violations(self, changes=None):
        """What the gate reports of the good tree with some files changed (None: removed)."""
        files = {**self.good, **(changes or {})}
        with tempfile.TemporaryDirectory() as root:
            for path, text in files.items():
                if text is None:
                    continue
                full = os.path.join(root, path)
                os.makedirs(os.path.dirname(full), exist_ok=True)
                with open(full, "w", encoding="utf-8") as file:
                    file.write(text)
            tree = gate.Gate(root)
            self.module.check(tree)
            return tree.violations

    def assert_caught(self, changes, part):
        """The changes cause exactly one violation, and it says `part`."""
        found = self.violations(changes)
        self.assertEqual(len(found), 1, found)
        self.assertIn(part, found[0])

    def assert_accepted(self, changes=None):
        self.assertEqual(self.violations(changes), [])
