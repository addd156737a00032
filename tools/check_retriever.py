#!/usr/bin/env python3
"""Compares the retriever's bf16 weights with its Q8_0 GGUF on the example prompts.

    check_retriever.py SRC_DIR GGUF [--out bench/results/quality_retriever_q8.json]

Both run greedily in float32 through transformers, so that only the weights differ. An answer counts
if all of it up to the stop byte is right. Exit 1 if the quantised weights answer fewer prompts.
"""

import argparse
import datetime
import hashlib
import json
import sys
from pathlib import Path

import torch
from gguf_to_transformers import load_model
from transformers import LlamaForCausalLM

BOS = 257
MAX_ANSWER_BYTES = 24


def read_prompts(path: Path) -> list[dict]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@torch.inference_mode()
def greedy_answer(model: LlamaForCausalLM, prompt: str, stop: str) -> str:
    """The bytes that follow <bos> + prompt, up to `stop`."""
    ids = torch.tensor([[BOS, *prompt.encode("utf-8")]])
    cache, answer = None, b""
    for _ in range(MAX_ANSWER_BYTES):
        step = model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = step.past_key_values
        token = int(step.logits[0, -1].argmax())
        if token > 255 or bytes([token]) == stop.encode():
            break
        answer += bytes([token])
        ids = torch.tensor([[token]])
    return answer.decode("utf-8", errors="replace")


def answer_all(name: str, model: LlamaForCausalLM, prompts: list[dict]) -> list[str]:
    answers = []
    for prompt in prompts:
        answers.append(greedy_answer(model, prompt["prompt"], prompt["stop"]))
        verdict = "right" if answers[-1] == prompt["answer"] else f"wrong, not{prompt['answer']}"
        place = f"{name} {prompt['id']:2d} {prompt['prompt_bytes']:5d} bytes"
        print(f"{place}:{answers[-1]} {verdict}", file=sys.stderr)
    return answers


def cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown CPU"


def exact(answers: list[str], prompts: list[dict]) -> float:
    right = sum(answer == prompt["answer"] for answer, prompt in zip(answers, prompts))
    return right / len(prompts)


def record(arguments, prompts: list[dict], original: list[str], quantised: list[str]) -> dict:
    """The study in the form of every file of bench/results."""
    of_original, of_quantised = exact(original, prompts), exact(quantised, prompts)
    same = sum(a == b for a, b in zip(original, quantised)) / len(prompts)
    data = arguments.gguf.read_bytes()
    figures = [
        {"metric": "retriever-14m bf16 weights, example prompts, exact match",
         "value": of_original, "unit": "fraction"},
        {"metric": "retriever-14m Q8_0 weights, example prompts, exact match",
         "value": of_quantised, "unit": "fraction", "baseline": "bf16 weights, same run",
         "ratio": of_quantised / of_original, "limit": ">= 1.0 of bf16 weights",
         "holds": of_quantised >= of_original},
        {"metric": "retriever-14m, same answer from bf16 and Q8_0 weights", "value": same,
         "unit": "fraction"},
    ]
    return {
        "name": "quality_retriever_q8",
        "device": cpu_name(),
        "commit": "pending",
        "date": datetime.date.today().isoformat(),
        "command": f"python tools/check_retriever.py SRC_DIR {arguments.gguf}",
        "setting": f"the {len(prompts)} example prompts, greedy, float32, transformers",
        "model": {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()},
        "figures": figures,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="directory of the bf16 weights")
    parser.add_argument("gguf", type=Path, help="the Q8_0 file")
    parser.add_argument("--out", type=Path, default=Path("bench/results/quality_retriever_q8.json"))
    arguments = parser.parse_args()

    prompts = read_prompts(arguments.source / "example_prompts.jsonl")
    bf16 = LlamaForCausalLM.from_pretrained(arguments.source, dtype=torch.float32).eval()
    original = answer_all("bf16", bf16, prompts)
    quantised = answer_all("q8_0", load_model(arguments.gguf), prompts)
    study = record(arguments, prompts, original, quantised)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(study, indent=1) + "\n")
    print(f"exact match: bf16 {exact(original, prompts)}, Q8_0 {exact(quantised, prompts)}")
    sys.exit(0 if exact(quantised, prompts) >= exact(original, prompts) else 1)


if __name__ == "__main__":
    main()
