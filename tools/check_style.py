#!/usr/bin/env python3
"""Gate: lengths, commented-out code, forbidden names, and ops that lack a face.

The measure of a function runs from the first line of its head to its closing brace, lambdas inside it
included. It is taken from the braces, with comments, strings and preprocessor lines blanked.
"""

import os
import re
import statistics

import gate

MAX_FILE_LINES = 600
MAX_MEDIAN_LINES = 150  # over src/
MAX_FUNCTION_LINES = 100
MAX_COLUMNS = 100
CPP_FOLDERS = ("src", "tests", "bench", "fuzz")

FORBIDDEN = [
    (re.compile(r"\bstd::w?regex|<regex>"), "std::regex recurses on its input"),
    (re.compile(r"\balloca\b"), "alloca: a size from a file would overflow the stack"),
    (
        re.compile(r"\b(strto(l|ll|ul|ull|f|d|ld|imax|umax)|ato[ilf]|atoll|sto(i|l|ll|ul|ull|f|d|ld))\s*\("),
        "use parse_int, parse_count or parse_double of base/strings.h",
    ),
    (re.compile(r"(?<![\w.>])(std::)?system\s*\("), "no shell"),
]
# A library never ends the process; the command line may, and a device that failed must.
EXIT = re.compile(r"(?<![\w.>])(std::|_)?(exit|_Exit|quick_exit)\s*\(")
COMMENT_CODE = re.compile(r"^\s*//.*[;{]\s*$")
TODO = re.compile(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))")
INITIALISERS = re.compile(r"\)\s*(noexcept\s*)?:(?!:)")
SCOPE = re.compile(r"^(inline |static |constexpr |typedef )*(namespace|class|struct|union|enum|extern)\b")


def without_preprocessor(code):
    """Blanks directives with their continuation lines."""
    lines, continued = [], False
    for line in code.split("\n"):
        directive = continued or line.lstrip().startswith("#")
        continued = directive and line.rstrip().endswith("\\")
        lines.append("" if directive else line)
    return "\n".join(lines)


def without_templates(head):
    """Removes 'template <...>' heads, whose <class T> would look like a class."""
    while True:
        match = re.search(r"\btemplate\s*<", head)
        if not match:
            return head.strip()
        depth, end = 1, match.end()
        while end < len(head) and depth:
            depth += {"<": 1, ">": -1}.get(head[end], 0)
            end += 1
        head = head[: match.start()] + head[end:]


def opens_function(head):
    head = " ".join(without_templates(head).split())
    head = re.sub(r"^(public|private|protected)\s*:\s*", "", head)
    if SCOPE.match(head) or "(" not in head:
        return False
    # "name = ... {": a table or a lambda at namespace scope; operator= and defaults are no such thing.
    before_parameters = head[: head.index("(")]
    return "=" not in before_parameters or "operator" in before_parameters


def function_lengths(text):
    """[(first line, length, head)] of all function bodies, or None if the braces do not match."""
    code = without_preprocessor(gate.blank_comments_and_strings(text))
    found, stack = [], []
    head, head_line, line = "", 0, 1
    inside = 0  # function bodies around the current place
    for char in code:
        if char == "\n":
            line += 1
        if char == "{":
            # "S() : a_(1), b_{2} {": the head goes on behind the member's braces.
            is_member = bool(INITIALISERS.search(head)) and head.rstrip()[-1] not in ")}"
            is_function = not inside and not is_member and opens_function(head)
            stack.append((is_function, head_line or line, head.strip()))
            inside += is_function
            head, head_line = "", 0
        elif char == "}":
            if not stack:
                return None
            is_function, first, name = stack.pop()
            if is_function:
                inside -= 1
                found.append((first, line - first + 1, " ".join(name.split())))
            head, head_line = "", 0
            if not is_function and INITIALISERS.search(name):
                head, head_line = name + "{}", first
        elif char == ";":
            # The semicolons of "for (;;)" belong to no head that matters: bodies are inside.
            head, head_line = "", 0
        else:
            if not head_line and not char.isspace():
                head_line = line
            head += char
    return None if stack else found


def check_lines(gate_, path, text):
    lines = text.splitlines()
    if len(lines) > MAX_FILE_LINES:
        gate_.report(path, 0, f"{len(lines)} lines, at most {MAX_FILE_LINES}")
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_COLUMNS:
            gate_.report(path, number, f"{len(line)} columns, at most {MAX_COLUMNS}")
        if COMMENT_CODE.match(line):
            gate_.report(path, number, "a comment that ends like code; git remembers old code")
        if TODO.search(line):
            gate_.report(path, number, "a TODO names its issue: TODO(#12)")
    if path.endswith(".h") and not text.startswith("//"):
        gate_.report(path, 1, "a header begins with a comment that says its role")
    if path.endswith(".h") and "#pragma once" not in text:
        gate_.report(path, 1, "#pragma once is missing")


def check_functions(gate_, path, text):
    functions = function_lengths(text)
    if functions is None:
        gate_.report(path, 0, "braces do not match: function lengths cannot be measured")
        return
    for first, length, head in functions:
        if length > MAX_FUNCTION_LINES:
            gate_.report(
                path, first, f"function of {length} lines, at most {MAX_FUNCTION_LINES}: {head[:60]}"
            )


def check_names(gate_, path, text):
    """Code only: a comment may name what the code must not use."""
    code = gate.blank_comments_and_strings(text)
    for number, line in enumerate(code.splitlines(), 1):
        for pattern, reason in FORBIDDEN:
            if pattern.search(line):
                gate_.report(path, number, f"forbidden: {line.strip()} ({reason})")
        if EXIT.search(line) and not path.startswith(("src/cli/", "src/tensor/cuda/cuda_check.")):
            gate_.report(path, number, f"forbidden: {line.strip()} (only src/cli ends the process)")


def check_ops(gate_):
    """Every op has a reference, a test and a benchmark of its name."""
    benches = [p for p in gate_.files("bench") if os.path.basename(p).startswith("kernel_bench")]
    bench_text = "\n".join(gate_.read(p) for p in benches)
    for path in gate_.files("src/kernels", (".h",)):
        op = os.path.basename(path)[: -len(".h")]
        if path != f"src/kernels/{op}.h" or not re.search(r"struct \w+Params\b", gate_.read(path)):
            continue
        # What has one plain form for every backend of the host lies in host/.
        places = [f"src/kernels/{folder}/{op}.cc" for folder in ("reference", "host")]
        if not any(gate_.exists(place) for place in places):
            gate_.report(path, 0, f"an op needs {places[0]}")
        if not gate_.exists(f"tests/kernels/{op}_test.cc"):
            gate_.report(path, 0, f"an op needs tests/kernels/{op}_test.cc")
        if not re.search(rf"\b{op}\b", bench_text):
            gate_.report(path, 0, f"an op is named in bench/kernel_bench*.cc: {op}")


def check(gate_):
    lengths = []
    for folder in CPP_FOLDERS:
        for path in gate_.files(folder):
            text = gate_.read(path)
            if folder == "src":
                lengths.append(len(text.splitlines()))
                check_names(gate_, path, text)
            check_lines(gate_, path, text)
            check_functions(gate_, path, text)
    if lengths and statistics.median(lengths) > MAX_MEDIAN_LINES:
        gate_.report("src", 0, f"median file length {statistics.median(lengths)}, at most {MAX_MEDIAN_LINES}")
    check_ops(gate_)


if __name__ == "__main__":
    gate.run(__doc__, check)
