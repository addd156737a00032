"""Reads a GGUF file of the `llama` architecture into transformers, in float32, and its tokenizer
into `tokenizers`. A module for the offline tools: the oracle sees the same quantised weights as the
engine.
"""

from pathlib import Path

import gguf
import numpy as np
import torch
from gguf.quants import dequantize
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

from gguf_fields import CONTROL, LAYER_NAMES, value_of


def read_config(reader: gguf.GGUFReader) -> LlamaConfig:
    hidden = value_of(reader, "llama.embedding_length")
    heads = value_of(reader, "llama.attention.head_count")
    theta = value_of(reader, "llama.rope.freq_base")
    return LlamaConfig(
        vocab_size=len(value_of(reader, "tokenizer.ggml.tokens")),
        hidden_size=hidden,
        intermediate_size=value_of(reader, "llama.feed_forward_length"),
        num_hidden_layers=value_of(reader, "llama.block_count"),
        num_attention_heads=heads,
        num_key_value_heads=value_of(reader, "llama.attention.head_count_kv"),
        head_dim=value_of(reader, "llama.attention.key_length", hidden // heads),
        max_position_embeddings=value_of(reader, "llama.context_length"),
        rms_norm_eps=value_of(reader, "llama.attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": theta},
        tie_word_embeddings=not any(tensor.name == "output.weight" for tensor in reader.tensors),
        bos_token_id=value_of(reader, "tokenizer.ggml.bos_token_id"),
        eos_token_id=value_of(reader, "tokenizer.ggml.eos_token_id"),
        attention_bias=False,
        mlp_bias=False,
    )


def transformers_name(name: str) -> str:
    """blk.3.ffn_up.weight -> model.layers.3.mlp.up_proj.weight"""
    whole = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "output.weight": "lm_head.weight",
    }
    if name in whole:
        return whole[name]
    _, layer, kind, _ = name.split(".")
    return f"model.layers.{layer}.{LAYER_NAMES[kind]}.weight"


def half_rotated_rope_rows(weight: np.ndarray, heads: int) -> np.ndarray:
    """Undoes the row order of interleaved rope: transformers rotates halves."""
    rows, columns = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, columns)
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(rows, columns))


def read_state(reader: gguf.GGUFReader, config: LlamaConfig) -> dict[str, torch.Tensor]:
    """All tensors dequantised to float32, under transformers' names."""
    state = {}
    for tensor in reader.tensors:
        value = np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        if tensor.name.endswith("attn_q.weight"):
            value = half_rotated_rope_rows(value, config.num_attention_heads)
        if tensor.name.endswith("attn_k.weight"):
            value = half_rotated_rope_rows(value, config.num_key_value_heads)
        state[transformers_name(tensor.name)] = torch.from_numpy(value.copy())
    return state


def load_model(path: Path) -> LlamaForCausalLM:
    """The model in float32, every tensor of it taken from the file."""
    reader = gguf.GGUFReader(path)
    config = read_config(reader)
    model = LlamaForCausalLM(config).float().eval()
    missing, unexpected = model.load_state_dict(read_state(reader, config), strict=False)
    if unexpected or set(missing) - ({"lm_head.weight"} if config.tie_word_embeddings else set()):
        raise SystemExit(f"{path}: missing {missing}, unexpected {unexpected}")
    model.tie_weights()
    return model


def pre_tokenizer_of(kind: str) -> pre_tokenizers.PreTokenizer:
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if kind == "gpt-2":
        return byte_level
    if kind == "smollm":
        digits = pre_tokenizers.Digits(individual_digits=True)
        return pre_tokenizers.Sequence([digits, byte_level])
    raise SystemExit(f"tokenizer.ggml.pre is {kind!r}; known are gpt-2 and smollm")


def load_tokenizer(path: Path) -> Tokenizer:
    """Byte-level BPE from the tokenizer.ggml.* tables; adds no <bos>."""
    reader = gguf.GGUFReader(path)
    texts = value_of(reader, "tokenizer.ggml.tokens")
    kinds = value_of(reader, "tokenizer.ggml.token_type")
    merges = [tuple(merge.split(" ")) for merge in value_of(reader, "tokenizer.ggml.merges", [])]
    vocabulary = {text: id for id, text in enumerate(texts)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizer_of(value_of(reader, "tokenizer.ggml.pre"))
    tokenizer.decoder = decoders.ByteLevel()
    control = [text for text, kind in zip(texts, kinds) if kind == CONTROL]
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in control])
    return tokenizer


def add_bos(path: Path) -> int | None:
    """The id of <bos> if the file says that prompts begin with it."""
    reader = gguf.GGUFReader(path)
    if not value_of(reader, "tokenizer.ggml.add_bos_token", False):
        return None
    return int(value_of(reader, "tokenizer.ggml.bos_token_id"))
