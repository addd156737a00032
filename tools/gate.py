"""Shared by the gates: walking the tree, blanking comments and strings, reporting."""

import argparse
import os
import sys

SKIPPED_FOLDERS = {".git", "build", ".cache", ".venv", "__pycache__", "node_modules"}
CPP_ENDINGS = (".h", ".cc", ".cuh", ".cu")


class Gate:
    """Collects violations of one tree; exits with their number as 0 or 1."""

    def __init__(self, root):
        self.root = root
        self.violations = []

    def report(self, path, line, message):
        where = f"{path}:{line}" if line else path
        self.violations.append(f"{where}: {message}")

    def files(self, folder="", endings=CPP_ENDINGS):
        """Paths relative to the root, '/'-separated, sorted."""
        found = []
        for base, folders, names in os.walk(os.path.join(self.root, folder)):
            folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS)
            for name in names:
                if name.endswith(tuple(endings)):
                    path = os.path.relpath(os.path.join(base, name), self.root)
                    found.append(path.replace(os.sep, "/"))
        return sorted(found)

    def exists(self, path):
        return os.path.exists(os.path.join(self.root, path))

    def read(self, path):
        with open(os.path.join(self.root, path), encoding="utf-8") as file:
            return file.read()


def run(description, check):
    """The main function of a gate: check(gate) reports, this prints and exits."""
    parser = argparse.ArgumentParser(description=description)
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser.add_argument("--root", default=here, help="the tree to check")
    gate = Gate(parser.parse_args().root)
    check(gate)
    for violation in gate.violations:
        print(violation)
    print(f"{len(gate.violations)} violations")
    sys.exit(1 if gate.violations else 0)


def blank_comments_and_strings(text):
    """C++ without comments and without what is inside quotes; line numbers stay as they are."""
    out = []
    i, n = 0, len(text)

    def skip_to(end):
        nonlocal i
        out.append("".join(c if c == "\n" else " " for c in text[i:end]))
        i = end

    while i < n:
        two = text[i : i + 2]
        if two == "//":
            end = text.find("\n", i)
            skip_to(n if end < 0 else end)
        elif two == "/*":
            end = text.find("*/", i + 2)
            skip_to(n if end < 0 else end + 2)
        elif text.startswith('R"', i) and not (i and (text[i - 1].isalnum() or text[i - 1] == "_")):
            tag = text[i + 2 : text.find("(", i)]
            end = text.find(")" + tag + '"', i)
            skip_to(n if end < 0 else end + len(tag) + 2)
        elif text[i] == '"' or (text[i] == "'" and not (i and text[i - 1].isalnum())):
            quote, end = text[i], i + 1
            while end < n and text[end] not in (quote, "\n"):
                end += 2 if text[end] == "\\" else 1
            out.append(quote)
            i += 1
            skip_to(min(end, n))
            out.append(quote)
            i = min(end + 1, n)
        else:
            out.append(text[i])
            i += 1
    return "".join(out)
