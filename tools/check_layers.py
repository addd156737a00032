#!/usr/bin/env python3
"""Gate: the include direction of ARCHITECTURE.md.

A file of src/ includes its own folder and lower floors, by full paths from src/. Folders of one floor
do not include each other, except where SAME_FLOOR says so. The implementations of kernels/ are private,
CUDA stays in two folders and inline assembly in one, and no headers include each other in a circle.
"""

import re

import gate

FLOORS = {
    "base": 0,
    "tensor": 1,
    "quant": 2,
    "checkpoint": 2,
    "kernels": 3,
    "kv_cache": 4,
    "attention": 5,
    "model": 6,
    "tokenizer": 6,
    "engine": 7,
    "evaluation": 8,
    "server": 8,
    "cli": 9,
}
SAME_FLOOR = {("checkpoint", "quant")}  # (who, whom): weight formats are what files hold

# kernels/backend.cc alone names an implementation; host/ is what those on the host share.
IMPLEMENTATIONS = {"reference", "cpu", "cuda"}
SHARED_BY = {"host": {"reference", "cpu", "cuda", "host"}}
CHOOSER = "kernels/backend.cc"

CUDA_FOLDERS = ("kernels/cuda/", "tensor/cuda/")
ASM_FOLDER = "kernels/cuda/ptx/"
CUDA_HEADER = re.compile(r"^(cuda|cublas|cub/|cooperative_groups|mma\.h|nvtx|cute/|cutlass/|nv/)|\.cuh$")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
ASM = re.compile(r"\b(asm|__asm|__asm__)\b")


def private_part(path):
    """'cpu' for 'kernels/cpu/gemm.h'; None for whatever is public."""
    parts = path.split("/")
    known = IMPLEMENTATIONS | set(SHARED_BY)
    return parts[1] if parts[0] == "kernels" and len(parts) > 2 and parts[1] in known else None


def check_direction(gate_, path, line, target):
    own, other = path.split("/")[0], target.split("/")[0]
    if other not in FLOORS:
        gate_.report(f"src/{path}", line, f'"{target}" is no full path from src/')
    elif not gate_.exists(f"src/{target}"):
        gate_.report(f"src/{path}", line, f'"{target}" does not exist')
    elif own != other and FLOORS[other] >= FLOORS[own] and (own, other) not in SAME_FLOOR:
        gate_.report(
            f"src/{path}",
            line,
            f'{own} (floor {FLOORS[own]}) must not include {other} (floor {FLOORS[other]}): "{target}"',
        )


def check_private(gate_, path, line, target):
    part, own = private_part(target), private_part(path)
    if part is None or part == own or path == CHOOSER:
        return
    if part in SHARED_BY and own in SHARED_BY[part]:
        return
    gate_.report(f"src/{path}", line, f'kernels/{part} is private, only {CHOOSER} names it: "{target}"')


def check_file(gate_, path):
    """Checks src/path and returns the paths it includes."""
    text = gate_.read(f"src/{path}")
    targets = []
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        kind, target = match.groups()
        if CUDA_HEADER.search(target) and not path.startswith(CUDA_FOLDERS):
            gate_.report(f"src/{path}", number, f"CUDA header outside {CUDA_FOLDERS}: {target}")
        if kind == '"':
            if target.startswith("."):
                gate_.report(f"src/{path}", number, f'relative include "{target}"')
                continue
            check_direction(gate_, path, number, target)
            check_private(gate_, path, number, target)
            targets.append(target)
    if not path.startswith(ASM_FOLDER):
        code = gate.blank_comments_and_strings(text)
        for number, line in enumerate(code.splitlines(), 1):
            if ASM.search(line):
                gate_.report(f"src/{path}", number, f"inline assembly outside {ASM_FOLDER}")
    return targets


def check_cycles(gate_, graph):
    done, on_path = set(), []

    def visit(path):
        if path in on_path:
            circle = on_path[on_path.index(path) :] + [path]
            gate_.report(f"src/{path}", 0, "include cycle: " + " -> ".join(circle))
            return
        if path in done or path not in graph:
            return
        on_path.append(path)
        for target in graph[path]:
            visit(target)
        on_path.pop()
        done.add(path)

    for path in sorted(graph):
        visit(path)


def check(gate_):
    graph = {}
    for full in gate_.files("src"):
        path = full[len("src/") :]
        if path.split("/")[0] not in FLOORS:
            gate_.report(full, 0, "this folder has no floor; see FLOORS in tools/check_layers.py")
            continue
        graph[path] = check_file(gate_, path)
    check_cycles(gate_, graph)


if __name__ == "__main__":
    gate.run(__doc__, check)
