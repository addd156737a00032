#!/usr/bin/env python3
"""Writes the retriever (a Hugging Face directory) as a Q8_0 GGUF v3 file.

    convert_retriever.py SRC_DIR OUT.gguf

Matrices, the token embedding included, become Q8_0; norms stay F32. Rows of Q and K are put into
the order of interleaved rope, as llama.cpp's `llama` architecture expects. The output is the same
for the same input, byte for byte.
"""

import argparse
import json
import os
from pathlib import Path

import gguf
import numpy as np
from gguf.quants import quantize
from safetensors import safe_open

ARCHITECTURE = "llama"
TENSOR_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


class Writer(gguf.GGUFWriter):
    """gguf.GGUFWriter refuses empty arrays; the format allows them, and llama.cpp wants the merges
    key of a BPE tokenizer even if the tokenizer has no merges."""

    def _pack_val(self, val, vtype, add_vtype, sub_type=None):
        if vtype != gguf.GGUFValueType.ARRAY or len(val) > 0:
            return super()._pack_val(val, vtype, add_vtype, sub_type)
        head = self._pack("I", vtype) if add_vtype else b""
        return head + self._pack("I", sub_type) + self._pack("Q", 0)


def gguf_name(name: str) -> str:
    """model.layers.3.mlp.up_proj.weight -> blk.3.ffn_up.weight"""
    whole = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
    }
    if name in whole:
        return whole[name]
    layer, rest = name.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{TENSOR_NAMES[rest.removesuffix('.weight')]}.weight"


def interleave_rope_rows(weight: np.ndarray, heads: int) -> np.ndarray:
    """Row c and row c + head_dim / 2 of a head (rotate half) become neighbours (interleaved)."""
    rows, columns = weight.shape
    pairs = weight.reshape(heads, 2, rows // heads // 2, columns)
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(rows, columns))


def read_tensors(path: Path, config: dict) -> dict[str, np.ndarray]:
    """All tensors under their GGUF names, float32, Q and K rows permuted."""
    tensors = {}
    with safe_open(path / "model.safetensors", framework="pt") as file:
        for name in file.keys():
            value = file.get_tensor(name).float().numpy()
            if name.endswith("q_proj.weight"):
                value = interleave_rope_rows(value, config["num_attention_heads"])
            if name.endswith("k_proj.weight"):
                value = interleave_rope_rows(value, config["num_key_value_heads"])
            tensors[gguf_name(name)] = value
    return tensors


def tensor_order(name: str) -> tuple:
    """Embedding, layers by number, final norm."""
    if name.startswith("blk."):
        _, layer, rest = name.split(".", 2)
        return (1, int(layer), rest)
    return (0 if name == "token_embd.weight" else 2, 0, name)


def add_model_keys(writer: Writer, config: dict) -> None:
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name("retriever-14m")
    writer.add_size_label("14M")
    writer.add_license("apache-2.0")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])


def add_tokenizer_keys(writer: Writer, tokenizer: dict, config: dict) -> None:
    """The vocabulary in GPT-2's printable alphabet; added tokens are control tokens."""
    if tokenizer["model"]["merges"]:
        raise SystemExit("convert_retriever.py: tokenizer.json has merges; this script writes none")
    control = {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    texts = {id: text for text, id in tokenizer["model"]["vocab"].items()} | control
    ids = range(config["vocab_size"])
    kinds = [gguf.TokenType.CONTROL if id in control else gguf.TokenType.NORMAL for id in ids]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([texts[id] for id in ids])
    writer.add_token_types(kinds)
    writer.add_key_value(gguf.Keys.Tokenizer.MERGES, [], gguf.GGUFValueType.ARRAY,
                         sub_type=gguf.GGUFValueType.STRING)
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)


def add_tensors(writer: Writer, tensors: dict[str, np.ndarray]) -> None:
    q8_0 = gguf.GGMLQuantizationType.Q8_0
    for name in sorted(tensors, key=tensor_order):
        value = tensors[name]
        if value.ndim == 1:
            writer.add_tensor(name, value)
        else:
            writer.add_tensor(name, quantize(value, q8_0), raw_dtype=q8_0)


def convert(source: Path, output: Path) -> None:
    config = json.loads((source / "config.json").read_text())
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    unfinished = output.with_name(output.name + ".unfinished")
    writer = Writer(unfinished, ARCHITECTURE)
    add_model_keys(writer, config)
    add_tokenizer_keys(writer, tokenizer, config)
    add_tensors(writer, read_tensors(source, config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(unfinished, output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="directory of config.json and model.safetensors")
    parser.add_argument("output", type=Path, help="GGUF file to write")
    arguments = parser.parse_args()
    convert(arguments.source, arguments.output)
    print(f"{arguments.output}: {arguments.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
