#!/usr/bin/env python3
r"""Perplexity of transformers (and peft), float32: what tests/e2e/smollm2_long_test.cc compares with.

    measure_perplexity.py SmolLM2.gguf tests/data/texts/jargon_file.txt --adapter DIR \
        --tokens 2048 --tokens 8192

The first N tokens of the text are run at once, <bos> in front where the model's prompts begin with
one; exp of the mean negative log-likelihood of tokens 2..N.
"""

import argparse
import math
from pathlib import Path

import torch
from lora_to_transformers import put_adapter
from make_logit_goldens import open_model

ROWS = 256  # of logits at a time


@torch.inference_mode()
def perplexity(model, ids: list[int]) -> float:
    tokens = torch.tensor(ids)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    hidden = base.model(tokens[None]).last_hidden_state[0]
    nll = 0.0
    for first in range(0, len(ids) - 1, ROWS):
        targets = tokens[first + 1 : first + 1 + ROWS]
        logits = base.lm_head(hidden[first : first + len(targets)]).double()
        nll += torch.nn.functional.cross_entropy(logits, targets, reduction="sum").item()
    return math.exp(nll / (len(ids) - 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--tokens", type=int, action="append", required=True)
    arguments = parser.parse_args()
    model, tokenizer, bos = open_model(arguments.model)
    if arguments.adapter:
        model = put_adapter(model, arguments.adapter)
    text = arguments.text.read_text(encoding="utf-8")
    ids = ([] if bos is None else [bos]) + tokenizer.encode(text, add_special_tokens=False).ids
    for count in arguments.tokens:
        if count > len(ids):
            raise SystemExit(f"{arguments.text} has {len(ids)} tokens, fewer than {count}")
        print(f"{count} tokens: perplexity {perplexity(model, ids[:count]):.4f}")


if __name__ == "__main__":
    main()
