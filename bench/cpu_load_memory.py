#!/usr/bin/env python3
r"""Measures how long a model takes to load, and the most memory that a run with a full context needs.

    cpu_load_memory.py SMOLLM2.gguf --lserve build/release/lserve --retriever RETRIEVER.gguf \
        --pattern HEAD_PATTERN --commit ID

The time to load is from the start of the process to its line "ready", the file being in the page
cache. The peak is the kernel's own account of the process (ru_maxrss); what the memory plan gives to
weights and KV cache is taken off. The contexts are filled to the end by a prompt, so that every
page of the cache that is planned is there. A figure is the median over rounds.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import study

MEBIBYTE = 1 << 20
LOAD_SECONDS = 0.3
EXTRA_MEBIBYTES = 64
SPARE_TOKENS = 64  # of a context, for the answer


class Run:
    """One run of lserve: seconds until it was ready, the peak in bytes, and what it printed."""

    def __init__(self, command: list[str]):
        start = time.monotonic()
        with tempfile.TemporaryFile() as out:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out,
                                       stderr=subprocess.PIPE)
            self.load_seconds = None
            messages = []
            for line in process.stderr:
                messages.append(line.decode())
                if line.startswith(b"ready"):
                    self.load_seconds = time.monotonic() - start
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode != 0 or self.load_seconds is None:
                raise SystemExit(f"{' '.join(command)}: exit {process.returncode}: {messages[-1:]}")
            out.seek(0)
            self.answer = json.load(out)
        self.peak_bytes = usage.ru_maxrss * 1024

    def extra_mebibytes(self) -> float:
        memory = self.answer["memory"]
        return (self.peak_bytes - memory["weights_bytes"] - memory["kv_bytes"]) / MEBIBYTE


def words(count: int, seed: int) -> str:
    rng = random.Random(seed)
    return " ".join("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=4)) for _ in range(count))


def write_prompt(arguments, model: str, context: int, path: str) -> None:
    """A text of as many tokens as the context holds, less SPARE_TOKENS: found by trying."""
    low, high = 1, context
    while high - low > 1:
        middle = (low + high) // 2
        Path(path).write_text(words(middle, arguments.seed))
        count = study.run_json([arguments.lserve, "tokenize", model, "-f", path, "--json"])["count"]
        low, high = (middle, high) if count <= context - SPARE_TOKENS else (low, middle)
    Path(path).write_text(words(low, arguments.seed))


def measure(arguments, name: str, model: str, context: int, *options: str) -> list[dict]:
    with tempfile.NamedTemporaryFile(suffix=".txt") as prompt:
        write_prompt(arguments, model, context, prompt.name)
        # Without the chat template the prompt is exactly the tokens that were counted.
        command = [arguments.lserve, "run", model, "-f", prompt.name, "--raw", "-n", "8",
                   "--ignore-eos", "-c", str(context), "-t", str(arguments.threads), "--json",
                   *options]
        runs = [Run(command) for _ in range(arguments.rounds)]
    tokens = runs[0].answer["usage"]["prompt_tokens"]
    load = study.summary(f"load of {name}, warm", [run.load_seconds for run in runs], "s")
    peak = study.summary(f"peak of {name}, context {context}, beyond weights and KV plan",
                         [run.extra_mebibytes() for run in runs], "MiB")
    load.update(limit=f"<= {LOAD_SECONDS} s", holds=load["value"] <= LOAD_SECONDS)
    peak.update(limit=f"<= {EXTRA_MEBIBYTES} MiB", holds=peak["value"] <= EXTRA_MEBIBYTES,
                prompt_tokens=tokens, peak_bytes=max(run.peak_bytes for run in runs),
                plan={key: runs[0].answer["memory"][key]
                      for key in ("weights_bytes", "kv_bytes", "workspace_bytes", "total_bytes")})
    return [load, peak]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="SmolLM2-135M as GGUF")
    parser.add_argument("--lserve", required=True)
    parser.add_argument("--retriever", required=True, help="the tree's model, for a context of 64K")
    parser.add_argument("--pattern", required=True, help="its head pattern")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--commit", default="pending")
    parser.add_argument("--out", type=Path, default=Path("bench/results/cpu_load_memory.json"))
    arguments = parser.parse_args()
    figures = measure(arguments, "SmolLM2-135M Q4_1", arguments.model, 2048)
    figures += measure(arguments, "the retriever, lserve", arguments.retriever, 65536,
                       "--attention", "lserve", "--streaming-heads", arguments.pattern)
    command = "python " + " ".join([sys.argv[0], *(Path(word).name if "/" in word else word
                                                   for word in sys.argv[1:])])
    study.write(study.record("cpu_load_memory", command, arguments.threads, arguments.commit,
                             seed=arguments.seed, rounds=arguments.rounds, figures=figures),
                arguments.out)


if __name__ == "__main__":
    main()
