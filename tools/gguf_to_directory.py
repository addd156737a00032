#!/usr/bin/env python3
r"""Writes a llama-arch GGUF file as a Hugging Face directory, which `lserve quantize` begins from.

    gguf_to_directory.py SmolLM2-135M-Instruct.Q4_1.gguf DIR

Matrices become bf16, as --weights bf16 of the GGUF file has them; norms stay float32. Byte-level BPE
only. Needs numpy and gguf (tools/requirements.txt).
"""

import argparse
import json
import struct
from pathlib import Path

import gguf
import numpy as np
from gguf.quants import dequantize

from gguf_fields import CONTROL, LAYER_NAMES, find_value, value_of

WHOLE_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
PRE_TOKENIZERS = {
    "gpt-2": BYTE_LEVEL,
    "smollm": {
        "type": "Sequence",
        "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTE_LEVEL],
    },
}


def directory_name(name: str) -> str:
    """blk.3.ffn_up.weight -> model.layers.3.mlp.up_proj.weight"""
    if name in WHOLE_NAMES:
        return WHOLE_NAMES[name]
    _, layer, kind, _ = name.split(".")
    return f"model.layers.{layer}.{LAYER_NAMES[kind]}.weight"


def half_rotated_rope_rows(weight: np.ndarray, heads: int) -> np.ndarray:
    """Undoes the row order of interleaved rope: a directory's rope rotates halves."""
    rows, columns = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, columns)
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(rows, columns))


def to_bf16(values: np.ndarray) -> bytes:
    """To the nearest, ties to even."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16).tobytes()


def config_of(reader: gguf.GGUFReader, tied: bool) -> dict:
    if value_of(reader, "general.architecture") != "llama":
        raise SystemExit("only GGUF files of the architecture llama are read")
    if value_of(reader, "llama.rope.scaling.type", "none") != "none":
        raise SystemExit("a scaled rope is not converted")
    hidden = value_of(reader, "llama.embedding_length")
    heads = value_of(reader, "llama.attention.head_count")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(value_of(reader, "tokenizer.ggml.tokens")),
        "hidden_size": hidden,
        "intermediate_size": value_of(reader, "llama.feed_forward_length"),
        "num_hidden_layers": value_of(reader, "llama.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": value_of(reader, "llama.attention.head_count_kv"),
        "head_dim": value_of(reader, "llama.attention.key_length", hidden // heads),
        "hidden_act": "silu",
        "max_position_embeddings": value_of(reader, "llama.context_length"),
        "rms_norm_eps": value_of(reader, "llama.attention.layer_norm_rms_epsilon"),
        "rope_theta": value_of(reader, "llama.rope.freq_base"),
        "tie_word_embeddings": tied,
        "bos_token_id": find_value(reader, "tokenizer.ggml.bos_token_id"),
        "eos_token_id": find_value(reader, "tokenizer.ggml.eos_token_id"),
        "torch_dtype": "bfloat16",
    }


def tokenizer_of(reader: gguf.GGUFReader) -> dict:
    kind = value_of(reader, "tokenizer.ggml.pre")
    if kind not in PRE_TOKENIZERS or value_of(reader, "tokenizer.ggml.add_bos_token", False):
        raise SystemExit(f"tokenizer {kind!r} is not converted; known are {list(PRE_TOKENIZERS)}")
    texts = value_of(reader, "tokenizer.ggml.tokens")
    kinds = value_of(reader, "tokenizer.ggml.token_type")
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": id, "content": text, **flags, "special": True}
            for id, (text, kind) in enumerate(zip(texts, kinds))
            if kind == CONTROL
        ],
        "normalizer": None,
        "pre_tokenizer": PRE_TOKENIZERS[kind],
        "post_processor": None,
        "decoder": BYTE_LEVEL,
        "model": {
            "type": "BPE",
            "vocab": {text: id for id, text in enumerate(texts)},
            "merges": value_of(reader, "tokenizer.ggml.merges"),
        },
    }


def write_tensors(reader: gguf.GGUFReader, path: Path) -> None:
    heads = {
        "attn_q": value_of(reader, "llama.attention.head_count"),
        "attn_k": value_of(reader, "llama.attention.head_count_kv"),
    }
    header, data, end = {"__metadata__": {"format": "pt"}}, [], 0
    for tensor in reader.tensors:
        value = np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        kind = tensor.name.split(".")[-2]
        if kind in heads:
            value = half_rotated_rope_rows(value, heads[kind])
        is_matrix = value.ndim == 2
        data.append(to_bf16(value) if is_matrix else value.tobytes())
        header[directory_name(tensor.name)] = {
            "dtype": "BF16" if is_matrix else "F32",
            "shape": list(value.shape),
            "data_offsets": [end, end + len(data[-1])],
        }
        end += len(data[-1])
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for part in data:
            file.write(part)


def convert(source: Path, directory: Path) -> None:
    reader = gguf.GGUFReader(source)
    names = {tensor.name for tensor in reader.tensors}
    if "rope_freqs.weight" in names:
        raise SystemExit("a scaled rope is not converted")
    directory.mkdir(parents=True, exist_ok=True)
    config = config_of(reader, tied="output.weight" not in names)
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer_of(reader)), encoding="utf-8")
    settings = {"chat_template": find_value(reader, "tokenizer.chat_template")}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    write_tensors(reader, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gguf", type=Path)
    parser.add_argument("directory", type=Path)
    arguments = parser.parse_args()
    convert(arguments.gguf, arguments.directory)


if __name__ == "__main__":
    main()
