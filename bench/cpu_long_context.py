#!/usr/bin/env python3
r"""Measures how the cost of a token grows with the context, in one process a round.

    cpu_long_context.py models/retriever-14m.Q8_0.gguf --lserve build/release/lserve \
        --pattern models/head_pattern --commit ID

Two ratios: decode in the lserve mode at the long context over that at the short one, and prefill of
the long context in the lserve mode over the dense one. Real prefills, so the selector works on real
keys.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import study

SHORT, LONG = 4096, 65536
MAX_DECODE_RATIO = 1.3
MAX_PREFILL_RATIO = 0.62


def measure(arguments) -> dict[tuple, list[float]]:
    """(phase, attention, tokens) -> milliseconds, one a round."""
    command = [str(arguments.lserve), "bench", "latency", str(arguments.model),
               "--prompt-tokens", f"{SHORT},{LONG}", "-r", "1",
               "--decode-tokens", str(arguments.decode_tokens), "--attention", "dense,lserve",
               "--token-budget", str(arguments.budget), "--threads", str(arguments.threads),
               "--streaming-heads", str(arguments.pattern), "--json"]
    samples = defaultdict(list)
    for _ in range(arguments.rounds):
        for figure in study.run_json(command)["figures"]:
            key = figure["attention"], figure["prompt_tokens"]
            samples["prefill", *key].append(figure["prefill_ms"])
            samples["decode", *key].append(figure["decode_ms_median"])
    return samples


def compared(figure: dict, baseline: dict, most: float) -> dict:
    ratio = round(figure["value"] / baseline["value"], 3)
    return figure | {"baseline": f"{baseline['metric']}, same run", "ratio": ratio,
                     "limit": f"<= {most} of that", "holds": ratio <= most}


def figures_of(samples: dict[tuple, list[float]]) -> list[dict]:
    figures = {key: study.summary(f"{key[0]} {key[2]}, attention {key[1]}", times, "ms")
               for key, times in samples.items()}
    decode, prefill = ("decode", "lserve", LONG), ("prefill", "lserve", LONG)
    figures[decode] = compared(figures[decode], figures["decode", "lserve", SHORT],
                               MAX_DECODE_RATIO)
    figures[prefill] = compared(figures[prefill], figures["prefill", "dense", LONG],
                                MAX_PREFILL_RATIO)
    return list(figures.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--lserve", type=Path, required=True)
    parser.add_argument("--kernel-bench", type=Path, required=True)
    parser.add_argument("--pattern", type=Path, required=True, help="head pattern, half streaming")
    parser.add_argument("--out", type=Path, default=Path("bench/results/cpu_long_context.json"))
    parser.add_argument("--commit", default="pending")
    parser.add_argument("--budget", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--decode-tokens", type=int, default=200)
    arguments = parser.parse_args()

    before = study.ceilings(arguments.kernel_bench, arguments.threads)
    figures = figures_of(measure(arguments))
    after = study.ceilings(arguments.kernel_bench, arguments.threads)
    study.write(study.record(
        "cpu_long_context", study.command_line("cpu_long_context"),
        arguments.threads, arguments.commit, ceilings=study.best_ceilings([before, after]),
        setting=f"token budget {arguments.budget}, half of the KV heads streaming, bf16 cache, "
                f"{arguments.rounds} rounds, {arguments.decode_tokens} decode steps",
        figures=figures), arguments.out)


if __name__ == "__main__":
    main()
