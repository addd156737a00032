#!/usr/bin/env python3
r"""Measures LServe's CPU backend next to llama.cpp on the same GGUF file, in one process, in turns.

    cpu_vs_llama_cpp.py MODEL.gguf --lserve build/release/lserve \
        --out bench/results/cpu_vs_llama_cpp.json

llama.cpp runs through llama-cpp-python's low-level API (flash attention on, f16 KV cache), with 512
and 2048 tokens a batch, and its faster batch counts. Each round measures llama.cpp, then `lserve
bench latency`; a figure is the median over rounds, its spread the smallest and the largest. Without
--lserve only llama.cpp is measured. Prefill is in tokens/s; decode is the median time of a token,
as tokens/s.
"""

import argparse
import ctypes
import datetime
import json
import random
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import llama_cpp
import numpy as np

PREFILL_TOKENS = (2048, 6000)
DECODE_CONTEXTS = (64, 7000)
BATCHES = (512, 2048)
CONTEXT = 7168
MIN_RATIO = 0.7          # dense LServe over llama.cpp, prefill and decode
MIN_SPARSE_RATIO = 2.0   # lserve mode over llama.cpp, decode at the long context
TOKEN_BUDGET = 1024

Samples = dict[tuple, list[float]]  # (phase, attention, tokens) -> tokens/s, one a round


class LlamaCpp:
    """One model and one context of llama.cpp."""

    def __init__(self, path: Path, batch: int, threads: int):
        model_parameters = llama_cpp.llama_model_default_params()
        model_parameters.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), model_parameters)
        if not self.model:
            raise SystemExit(f"llama.cpp cannot load {path}")
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = CONTEXT
        parameters.n_batch = parameters.n_ubatch = batch
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
        self.context = llama_cpp.llama_init_from_model(self.model, parameters)
        self.batch = batch
        vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(vocabulary)

    def close(self) -> None:
        llama_cpp.llama_free(self.context)
        llama_cpp.llama_model_free(self.model)

    def clear(self) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)

    def feed(self, tokens: list[int]) -> int:
        """Runs the tokens after those in the cache; returns the likeliest next one."""
        for begin in range(0, len(tokens), self.batch):
            part = tokens[begin : begin + self.batch]
            array = (llama_cpp.llama_token * len(part))(*part)
            status = llama_cpp.llama_decode(
                self.context, llama_cpp.llama_batch_get_one(array, len(part)))
            if status != 0:
                raise SystemExit(f"llama_decode failed with {status}")
        logits = llama_cpp.llama_get_logits_ith(self.context, -1)
        return int(np.ctypeslib.as_array(logits, shape=(self.vocabulary,)).argmax())

    def prefill_rate(self, tokens: list[int]) -> float:
        self.clear()
        begin = time.perf_counter()
        self.feed(tokens)
        return len(tokens) / (time.perf_counter() - begin)

    def decode_rate(self, cached: int, tokens: list[int], steps: int) -> float:
        """Fills the cache from `cached` tokens to all of `tokens`, then generates."""
        next_token = self.feed(tokens[cached:])
        seconds = []
        for _ in range(steps):
            begin = time.perf_counter()
            next_token = self.feed([next_token])
            seconds.append(time.perf_counter() - begin)
        return 1 / statistics.median(seconds)


def measure_llama_cpp(runtime: LlamaCpp, tokens: list[int], steps: int, samples: Samples) -> None:
    """One round with one batch size. The long decode goes on from the longest prefill."""
    runtime.clear()
    shortest, longest = DECODE_CONTEXTS
    rate = runtime.decode_rate(0, tokens[:shortest], steps)
    samples["decode", f"batch {runtime.batch}", shortest].append(rate)
    for count in PREFILL_TOKENS:
        rate = runtime.prefill_rate(tokens[:count])
        samples["prefill", f"batch {runtime.batch}", count].append(rate)
    rate = runtime.decode_rate(PREFILL_TOKENS[-1], tokens[:longest], steps)
    samples["decode", f"batch {runtime.batch}", longest].append(rate)


def measure_lserve(command: list[str], samples: Samples) -> None:
    """One run of `lserve bench latency`; its JSON has one figure a mode and prompt length."""
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit {run.returncode}: {run.stderr.strip()}")
    for figure in json.loads(run.stdout)["figures"]:
        tokens, attention = figure["prompt_tokens"], figure["attention"]
        if tokens in PREFILL_TOKENS:
            samples["prefill", attention, tokens].append(figure["prefill_tokens_per_s"])
        if tokens in DECODE_CONTEXTS:
            rate = 1000 / figure["decode_ms_median"]
            samples["decode", attention, tokens].append(rate)


def lserve_command(arguments) -> list[str]:
    lengths = sorted(PREFILL_TOKENS + DECODE_CONTEXTS)
    return [
        str(arguments.lserve), "bench", "latency", str(arguments.model),
        "--prompt-tokens", ",".join(map(str, lengths)),
        "--decode-tokens", str(arguments.decode_tokens),
        "--attention", "dense,lserve", "--token-budget", str(TOKEN_BUDGET),
        "--threads", str(arguments.threads), "--json", "-r", "1",
        # Without a pattern for this model no head streams: page selection alone.
        *(["--streaming-heads", str(arguments.pattern)] if arguments.pattern
          else ["--streaming-fraction", "0"]),
    ]


def measure(arguments) -> tuple[Samples, Samples]:
    """All rounds, the two programs in turns."""
    llama, lserve = defaultdict(list), defaultdict(list)
    runtimes = [LlamaCpp(arguments.model, batch, arguments.threads) for batch in BATCHES]
    generator = random.Random(arguments.seed)
    tokens = [generator.randrange(256, runtimes[0].vocabulary) for _ in range(CONTEXT)]
    for number in range(arguments.rounds):
        for runtime in runtimes:
            measure_llama_cpp(runtime, tokens, arguments.decode_tokens, llama)
        if arguments.lserve:
            measure_lserve(lserve_command(arguments), lserve)
        print(f"round {number + 1} of {arguments.rounds} done", file=sys.stderr)
    for runtime in runtimes:
        runtime.close()
    return llama, lserve


def best_batch(llama: Samples, phase: str, tokens: int) -> tuple[str, list[float]]:
    """llama.cpp's samples with the batch size that is the faster one at the median."""
    candidates = [(name, rates) for (what, name, count), rates in llama.items()
                  if (what, count) == (phase, tokens)]
    return max(candidates, key=lambda candidate: statistics.median(candidate[1]))


def summary(metric: str, rates: list[float]) -> dict:
    return {"metric": metric, "value": round(statistics.median(rates), 2), "unit": "tokens/s",
            "spread": [round(min(rates), 2), round(max(rates), 2)]}


def compared(metric: str, rates: list[float], baseline: dict, minimum: float | None) -> dict:
    """A figure of LServe beside llama.cpp's; `minimum` is the bar of the ratio, if there is one."""
    figure = summary(metric, rates)
    figure |= {"baseline": f"{baseline['metric']}, same run",
               "ratio": round(figure["value"] / baseline["value"], 3)}
    if minimum is not None:
        figure |= {"limit": f">= {minimum} of llama.cpp", "holds": figure["ratio"] >= minimum}
    return figure


def bar(phase: str, attention: str, tokens: int) -> float | None:
    if attention == "dense":
        return MIN_RATIO
    return MIN_SPARSE_RATIO if (phase, tokens) == ("decode", DECODE_CONTEXTS[-1]) else None


def figures_of(llama: Samples, lserve: Samples) -> list[dict]:
    figures = []
    for phase, lengths in (("prefill", PREFILL_TOKENS), ("decode", DECODE_CONTEXTS)):
        for tokens in lengths:
            batch, rates = best_batch(llama, phase, tokens)
            baseline = summary(f"llama.cpp {phase} {tokens}, {batch}", rates)
            figures.append(baseline)
            for attention in ("dense", "lserve"):
                if rates := lserve.get((phase, attention, tokens)):
                    metric = f"lserve {phase} {tokens}, attention {attention}"
                    minimum = bar(phase, attention, tokens)
                    figures.append(compared(metric, rates, baseline, minimum))
    return figures


def cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown CPU"


def record(arguments, figures: list[dict]) -> dict:
    features = llama_cpp.llama_print_system_info().decode().strip(" |")
    return {
        "name": "cpu_vs_llama_cpp",
        "device": f"{cpu_name()}, {arguments.threads} threads",
        "commit": "pending",
        "date": datetime.date.today().isoformat(),
        "command": f"python bench/cpu_vs_llama_cpp.py {arguments.model.name} --lserve LSERVE",
        "seed": arguments.seed,
        "llama_cpp": {"llama_cpp_python": llama_cpp.__version__, "system": features,
                      "flash_attention": True, "kv_cache": "f16"},
        "setting": f"{arguments.rounds} rounds in turns, {arguments.decode_tokens} decode steps, "
                   f"token budget {TOKEN_BUDGET} in the lserve mode",
        "figures": figures,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="GGUF file that both programs load")
    parser.add_argument("--lserve", type=Path, help="the program; without it llama.cpp alone")
    parser.add_argument("--out", type=Path, default=Path("bench/results/cpu_vs_llama_cpp.json"))
    parser.add_argument("--pattern", type=Path, help="head pattern of this model, half streaming")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--decode-tokens", type=int, default=33, help="steps timed a context")
    parser.add_argument("--seed", type=int, default=1, help="of the random prompt tokens")
    arguments = parser.parse_args()

    silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    study = record(arguments, figures_of(*measure(arguments)))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(study, indent=1) + "\n")
    for figure in study["figures"]:
        ratio = f"  ratio {figure['ratio']}" if "ratio" in figure else ""
        print(f"{figure['metric']}: {figure['value']} {figure['unit']}{ratio}")


if __name__ == "__main__":
    main()
