#!/usr/bin/env python3
r"""Writes float32 logits of transformers as goldens: tests/data/logits/<model>_<text>.bin.

    make_logit_goldens.py --model smollm2=SmolLM2.gguf --model retriever_q8=retriever.gguf \
        --model retriever_bf16=DIR --texts tests/data/texts --out tests/data/logits
    make_logit_goldens.py --model smollm2_long=SmolLM2.gguf --adapter DIR --text english_prose

A model is a GGUF file, whose weights are dequantised, or a Hugging Face directory; with --adapter
a PEFT adapter is put on it (lora_to_transformers.py). For each text
the first 512 tokens are run at once; kept of each position are the 32 largest logits, 64 fixed
columns, and the log-sum-exp, minimum and maximum of the row. tests/data/logits/README.md has the
layout.
"""

import argparse
import struct
from pathlib import Path

import numpy as np
import torch
from gguf_to_transformers import add_bos, load_model, load_tokenizer
from lora_to_transformers import put_adapter
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

MAGIC = b"LSRVLGT1"
TEXTS = ("english_prose", "technical", "multilingual")
POSITIONS = 512
LARGEST = 32
FIXED = 64


def fixed_columns(vocabulary: int) -> np.ndarray:
    """64 token ids spread evenly over the vocabulary, first and last included."""
    return np.round(np.linspace(0, vocabulary - 1, FIXED)).astype(np.int32)


def open_model(path: Path) -> tuple[LlamaForCausalLM, Tokenizer, int | None]:
    """Model, tokenizer without <bos>, and the id of <bos> where prompts begin with one."""
    if path.is_file():
        return load_model(path), load_tokenizer(path), add_bos(path)
    model = LlamaForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    return model, tokenizer, model.config.bos_token_id


def token_ids(tokenizer: Tokenizer, bos: int | None, text: str) -> np.ndarray:
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    ids = ([] if bos is None else [bos]) + ids
    if len(ids) < POSITIONS:
        raise SystemExit(f"text of {len(ids)} tokens; {POSITIONS} are needed")
    return np.array(ids[:POSITIONS], dtype=np.int32)


def largest(logits: np.ndarray) -> np.ndarray:
    """Ids of the 32 largest logits, largest first; equal logits by lower id."""
    return np.argsort(-logits, axis=1, kind="stable")[:, :LARGEST].astype(np.int32)


@torch.inference_mode()
def golden(model: LlamaForCausalLM, ids: np.ndarray) -> bytes:
    row = model(torch.from_numpy(ids.astype(np.int64))[None]).logits[0].float()
    log_sum_exp = torch.logsumexp(row.double(), dim=1).numpy().astype("<f4")
    logits = row.numpy()
    top, columns = largest(logits), fixed_columns(logits.shape[1])
    out = [MAGIC, struct.pack("<4I", POSITIONS, LARGEST, FIXED, logits.shape[1]),
           ids.astype("<i4").tobytes(), columns.astype("<i4").tobytes()]
    for position in range(POSITIONS):
        out.append(top[position].astype("<i4").tobytes())
        out.append(logits[position, top[position]].astype("<f4").tobytes())
        out.append(logits[position, columns].astype("<f4").tobytes())
        out.append(log_sum_exp[position].tobytes())
        out.append(struct.pack("<2f", logits[position].min(), logits[position].max()))
    return b"".join(out)


def write_goldens(name: str, path: Path, arguments: argparse.Namespace) -> None:
    model, tokenizer, bos = open_model(path)
    if arguments.adapter:
        model = put_adapter(model, arguments.adapter)
    texts, output = arguments.texts, arguments.out
    for text in arguments.text or TEXTS:
        ids = token_ids(tokenizer, bos, (texts / f"{text}.txt").read_text(encoding="utf-8"))
        data = golden(model, ids)
        (output / f"{name}_{text}.bin").write_bytes(data)
        print(f"{name}_{text}.bin: {len(data)} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", required=True, metavar="NAME=PATH")
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--text", action="append", choices=TEXTS, help="only this; default: all")
    parser.add_argument("--texts", type=Path, default=Path("tests/data/texts"))
    parser.add_argument("--out", type=Path, default=Path("tests/data/logits"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for model in arguments.model:
        name, _, path = model.partition("=")
        write_goldens(name, Path(path), arguments)


if __name__ == "__main__":
    main()
