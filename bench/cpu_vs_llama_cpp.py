#!/usr/bin/env python3
r"""Measures LServe's CPU backend next to llama.cpp on the same GGUF file, in one process, in turns.

    cpu_vs_llama_cpp.py MODEL.gguf --lserve build/release/lserve \
        --kernel-bench build/release/bench/kernel_bench --pattern HEAD_PATTERN --commit ID

llama.cpp runs through llama-cpp-python's low-level API (flash attention on, f16 KV cache), with 512
and 2048 tokens a batch, and its faster batch counts. Each round measures llama.cpp, then `lserve
bench latency` with the best instruction set and with AVX2, then the machine's ceilings; a figure is
the median over rounds, its spread the smallest and the largest. Prefill is in tokens/s; decode is
the median time of a token, as tokens/s.

A floor is the time that the ceilings allow, as a rate: of prefill the int8 products of the layers'
matrices and the bf16 products of attention; of decode the bytes of weights, keys and values.
"""

import argparse
import ctypes
import random
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

import llama_cpp
import numpy as np

import study

PREFILL_TOKENS = (2048, 6000)
DECODE_CONTEXTS = (64, 7000)
BATCHES = (512, 2048)
CONTEXT = 7168
# The least that LServe owes over llama.cpp: (phase, attention, tokens) -> ratio.
BARS = {("prefill", "dense", 2048): 2.0, ("decode", "dense", 64): 1.2,
        ("decode", "dense", 7000): 1.5, ("decode", "lserve", 7000): 3.5}
AVX2_BAR = 1.0
TOKEN_BUDGET = 1024
SINK_AND_LOCAL = 128 + 256

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
    for figure in study.run_json(command)["figures"]:
        tokens, attention = figure["prompt_tokens"], figure["attention"]
        if tokens in PREFILL_TOKENS:
            samples["prefill", attention, tokens].append(figure["prefill_tokens_per_s"])
        if tokens in DECODE_CONTEXTS:
            rate = 1000 / figure["decode_ms_median"]
            samples["decode", attention, tokens].append(rate)


def lserve_command(arguments, isa: str) -> list[str]:
    lengths = sorted(PREFILL_TOKENS + DECODE_CONTEXTS)
    return [
        str(arguments.lserve), "bench", "latency", str(arguments.model),
        "--prompt-tokens", ",".join(map(str, lengths)),
        "--decode-tokens", str(arguments.decode_tokens),
        "--attention", "dense,lserve", "--token-budget", str(TOKEN_BUDGET),
        "--threads", str(arguments.threads), "--json", "-r", "1", "--cpu-isa", isa,
        "--streaming-heads", str(arguments.pattern),
    ]


class Model:
    """What a floor needs to know of the model, from `lserve info`."""

    def __init__(self, arguments):
        info = study.run_json([str(arguments.lserve), "info", str(arguments.model), "--json"])
        shape = info["model"]
        self.layers, self.kv_heads = shape["num_layers"], shape["num_kv_heads"]
        self.width = shape["num_q_heads"] * shape["head_dim"]
        self.token_bytes = 2 * 2 * shape["head_dim"]  # K and V of a token and KV head, in bf16
        hidden, ffn = shape["hidden_size"], shape["intermediate_size"]
        kv = self.kv_heads * shape["head_dim"]
        self.parameters = self.layers * hidden * (2 * self.width + 2 * kv + 3 * ffn)
        self.weight_bytes = info["memory"]["weights_bytes"]

    def floor(self, limits: dict, phase: str, attention: str, tokens: int) -> float:
        """Tokens/s at the ceilings. Half of the heads stream in the lserve mode."""
        streaming = 0.5 if attention == "lserve" else 0
        if phase == "prefill":
            seen = (1 - streaming) * tokens / 2 + streaming * min(tokens / 2, SINK_AND_LOCAL)
            flops = limits["bf16_tflop_s"] or limits["fp32_tflop_s"]
            seconds = (2 * self.parameters / (limits["int8_top_s"] * 1e12)
                       + 4 * self.layers * self.width * seen / (flops * 1e12))
            return 1 / seconds
        budget = min(tokens, TOKEN_BUDGET) if attention == "lserve" else tokens
        seen = (1 - streaming) * budget + streaming * min(tokens, SINK_AND_LOCAL)
        read = self.weight_bytes + self.layers * self.kv_heads * self.token_bytes * seen
        return limits["read_gb_s"] * 1e9 / read


def measure(arguments) -> tuple[Samples, dict[str, Samples], dict]:
    """All rounds, the programs in turns: llama.cpp's, LServe's by instruction set, the ceilings."""
    llama, lserve = defaultdict(list), {isa: defaultdict(list) for isa in ("auto", "avx2")}
    limits = []
    runtimes = [LlamaCpp(arguments.model, batch, arguments.threads) for batch in BATCHES]
    generator = random.Random(arguments.seed)
    tokens = [generator.randrange(256, runtimes[0].vocabulary) for _ in range(CONTEXT)]
    for number in range(arguments.rounds):
        for runtime in runtimes:
            measure_llama_cpp(runtime, tokens, arguments.decode_tokens, llama)
        for isa, samples in lserve.items():
            measure_lserve(lserve_command(arguments, isa), samples)
        limits.append(study.ceilings(arguments.kernel_bench, arguments.threads))
        print(f"round {number + 1} of {arguments.rounds} done", file=sys.stderr)
    for runtime in runtimes:
        runtime.close()
    return llama, lserve, study.best_ceilings(limits)


def best_batch(llama: Samples, phase: str, tokens: int) -> tuple[str, list[float]]:
    """llama.cpp's samples with the batch size that is the faster one at the median."""
    candidates = [(name, rates) for (what, name, count), rates in llama.items()
                  if (what, count) == (phase, tokens)]
    return max(candidates, key=lambda candidate: statistics.median(candidate[1]))


def compared(metric: str, rates: list[float], baseline: dict, minimum: float | None) -> dict:
    """A figure of LServe beside llama.cpp's; `minimum` is the bar of the ratio, if there is one."""
    figure = study.summary(metric, rates, "tokens/s")
    figure |= {"baseline": f"{baseline['metric']}, same run",
               "ratio": round(figure["value"] / baseline["value"], 3)}
    if minimum is not None:
        figure |= {"limit": f">= {minimum} of llama.cpp", "holds": figure["ratio"] >= minimum}
    return figure


def figures_of(llama: Samples, lserve: dict[str, Samples], limits: dict,
               model: Model) -> list[dict]:
    figures = []
    for phase, lengths in (("prefill", PREFILL_TOKENS), ("decode", DECODE_CONTEXTS)):
        for tokens in lengths:
            batch, rates = best_batch(llama, phase, tokens)
            baseline = study.summary(f"llama.cpp {phase} {tokens}, {batch}", rates, "tokens/s")
            figures.append(baseline)
            for attention in ("dense", "lserve"):
                key = phase, attention, tokens
                metric = f"lserve {phase} {tokens}, attention {attention}"
                floor = model.floor(limits, *key)
                best = compared(metric, lserve["auto"][key], baseline, BARS.get(key))
                best |= {"floor": round(floor, 1), "of_floor": round(best["value"] / floor, 3)}
                figures.append(best)
                figures.append(
                    compared(f"{metric}, avx2", lserve["avx2"][key], baseline, AVX2_BAR))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="GGUF file that both programs load")
    parser.add_argument("--lserve", type=Path, required=True)
    parser.add_argument("--kernel-bench", type=Path, required=True, help="measures the ceilings")
    parser.add_argument("--commit", default="pending", help="what was measured")
    parser.add_argument("--out", type=Path, default=Path("bench/results/cpu_vs_llama_cpp.json"))
    parser.add_argument("--pattern", type=Path, required=True,
                        help="head pattern of this model: half of the KV heads stream")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--decode-tokens", type=int, default=33, help="steps timed a context")
    parser.add_argument("--seed", type=int, default=1, help="of the random prompt tokens")
    arguments = parser.parse_args()

    silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    llama, lserve, limits = measure(arguments)
    features = llama_cpp.llama_print_system_info().decode().strip(" |")
    study.write(study.record(
        "cpu_vs_llama_cpp", study.command_line("cpu_vs_llama_cpp"),
        arguments.threads, arguments.commit, seed=arguments.seed, ceilings=limits,
        llama_cpp={"llama_cpp_python": llama_cpp.__version__, "system": features,
                   "flash_attention": True, "kv_cache": "f16"},
        setting=f"{arguments.rounds} rounds in turns, {arguments.decode_tokens} decode steps, "
                f"token budget {TOKEN_BUDGET} in the lserve mode",
        figures=figures_of(llama, lserve, limits, Model(arguments))), arguments.out)


if __name__ == "__main__":
    main()
