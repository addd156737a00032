#!/usr/bin/env python3
"""Writes tests/data/models/: random tiny models of every family, and the logits of transformers.

    make_model_matrix.py --out tests/data/models [--llama-cpp]

A folder a model: what save_pretrained writes (or the GGUF form of another folder's model), and
golden.bin with the float32 logits of 32 tokens. Same seed, same files. --llama-cpp compares the
GGUF files with the PyPI package llama-cpp-python, too. README.md there has the list and the layout.
"""

import argparse
import copy
import json
import math
import shutil
import struct
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import (LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM,
                          Qwen2Config, Qwen2ForCausalLM)

MAGIC = b"LSRVMMT1"
TOKENS = 32
VOCAB = 64
BASE = {"vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 256,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None, "tie_word_embeddings": False}
LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
YARN_ROPE = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0, "beta_fast": 8.0,
             "beta_slow": 1.0, "original_max_position_embeddings": 32}


@dataclass
class Case:
    kind: str  # llama, mistral, qwen2
    changes: dict
    dtype: torch.dtype
    shard: str = "1GB"
    old_rope: bool = False  # config.json as written before rope_parameters
    changes_json: dict = field(default_factory=dict)  # what people's files have besides


CASES = {
    "llama2_mha": Case("llama", {"num_key_value_heads": 2, "head_dim": 64}, torch.float16,
                       old_rope=True),
    "llama3_gqa4": Case("llama", {"num_attention_heads": 4, "head_dim": 64, "num_hidden_layers": 2,
                                  "rope_parameters": LLAMA3_ROPE}, torch.bfloat16, old_rope=True),
    "minitron_hd128": Case("llama", {"head_dim": 128}, torch.bfloat16),
    "mistral": Case("mistral", {"head_dim": 64, "sliding_window": None,
                                "rope_parameters": {"rope_type": "default",
                                                    "rope_theta": 1000000.0}},
                    torch.float16, old_rope=True),
    "qwen2_tied": Case("qwen2", {"hidden_size": 128, "tie_word_embeddings": True},
                       torch.bfloat16, old_rope=True,
                       changes_json={"sliding_window": 128, "use_sliding_window": False}),
    "qwen2_yarn_sharded": Case("qwen2", {"hidden_size": 64, "num_attention_heads": 1,
                                         "rope_parameters": YARN_ROPE},
                               torch.float16, shard="20KB"),
    "llama_linear_f32": Case("llama", {"head_dim": 64,
                                       "rope_parameters": {"rope_type": "linear",
                                                           "rope_theta": 10000.0, "factor": 4.0}},
                             torch.float32),
}
# GGUF form: of which case, element type, and how many tensors a part has at most (0: one file).
GGUF_CASES = {
    "llama3_gqa4_gguf_f16_split": ("llama3_gqa4", gguf.GGMLQuantizationType.F16, 9),
    "qwen2_yarn_gguf_bf16": ("qwen2_yarn_sharded", gguf.GGMLQuantizationType.BF16, 0),
}
CLASSES = {"llama": (LlamaConfig, LlamaForCausalLM), "mistral": (MistralConfig, MistralForCausalLM),
           "qwen2": (Qwen2Config, Qwen2ForCausalLM)}


def make_model(case: Case, seed: int) -> torch.nn.Module:
    """Random weights, as large as makes every part matter, of values that bf16 and f16 have."""
    config_class, model_class = CLASSES[case.kind]
    torch.manual_seed(seed)
    model = model_class(config_class(**{**BASE, **case.changes})).float().eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("norm.weight"):
                weight.copy_(1 + 0.2 * torch.randn_like(weight))
            elif name.endswith("bias"):
                weight.copy_(0.5 * torch.randn_like(weight))
            else:
                weight.copy_(torch.randn_like(weight) * (1.2 / math.sqrt(weight.shape[1])))
            weight.copy_(weight.bfloat16().float())
    return model


def use_old_rope(path: Path, changes: dict) -> None:
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = rope if rope.get("rope_type", "default") != "default" else None
    config["torch_dtype"] = config.pop("dtype")
    config.update(changes)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def save(model: torch.nn.Module, case: Case, folder: Path) -> None:
    # A copy, because to() would round the angles of rope as well.
    copy.deepcopy(model).to(case.dtype).save_pretrained(folder, max_shard_size=case.shard)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if case.old_rope:
        use_old_rope(folder / "config.json", case.changes_json)


@torch.inference_mode()
def logits_of(model: torch.nn.Module, ids: np.ndarray) -> np.ndarray:
    return model(torch.from_numpy(ids.astype(np.int64))[None]).logits[0].float().numpy()


def write_golden(folder: Path, ids: np.ndarray, logits: np.ndarray) -> None:
    head = MAGIC + struct.pack("<2I", *logits.shape)
    data = head + ids.astype("<i4").tobytes() + logits.astype("<f4").tobytes()
    (folder / "golden.bin").write_bytes(data)


def interleaved(rows: np.ndarray, heads: int) -> np.ndarray:
    """Row c + half * head_dim/2 of a head becomes row 2 c + half: what llama-arch files have."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def llama3_factors(rope: dict, head_dim: int) -> np.ndarray:
    """By what each pair's angle is divided: 1 for fast pairs, `factor` for slow ones."""
    exponents = np.arange(0, head_dim, 2, dtype=np.float64) / head_dim
    turns = rope["original_max_position_embeddings"] / (2 * np.pi * rope["rope_theta"] ** exponents)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / ((1 - kept) / rope["factor"] + kept)).astype(np.float32)


GGUF_NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name: str) -> str:
    stem, _, suffix = name.rpartition(".")
    prefix = ""
    if stem.startswith("model.layers."):
        _, _, layer, stem = stem.split(".", 3)
        prefix = f"blk.{layer}."
    return f"{prefix}{GGUF_NAMES[stem]}.{suffix}"


def head_dim_of(config) -> int:
    given = getattr(config, "head_dim", None)
    return given or config.hidden_size // config.num_attention_heads


def add_metadata(writer: gguf.GGUFWriter, config, head_dim: int, rope: dict) -> None:
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_tokenizer_model("none")
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        writer.add_rope_scaling_yarn_beta_fast(rope["beta_fast"])
        writer.add_rope_scaling_yarn_beta_slow(rope["beta_slow"])


def save_gguf(model: torch.nn.Module, case: Case, kind, part_tensors: int, folder: Path) -> Path:
    config, rope = model.config, case.changes["rope_parameters"]
    head_dim = head_dim_of(config)
    path = folder / "model.gguf"
    writer = gguf.GGUFWriter(path, case.kind, split_max_tensors=part_tensors)
    add_metadata(writer, config, head_dim, rope)
    if rope["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_factors(rope, head_dim))
    for name, weight in model.state_dict().items():
        values = weight.float().numpy()
        if case.kind == "llama" and ".q_proj." in name:
            values = interleaved(values, config.num_attention_heads)
        if case.kind == "llama" and ".k_proj." in name:
            values = interleaved(values, config.num_key_value_heads)
        if values.ndim == 2:
            writer.add_tensor(gguf_name(name), gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(gguf_name(name), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path if part_tensors == 0 else next(folder.glob("model-00001-of-*.gguf"))


def check_llama_cpp(path: Path, ids: np.ndarray, logits: np.ndarray) -> None:
    from llama_cpp import Llama

    model = Llama(str(path), n_ctx=256, logits_all=True, verbose=False, flash_attn=False, type_k=0,
                  type_v=0)
    model.eval([int(i) for i in ids])
    other = np.array(model.scores[: len(ids)])
    worst = np.abs(other - logits).max() / (logits.max() - logits.min())
    print(f"{path.name}: llama.cpp differs by at most {worst:.1e} of the logit range")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("tests/data/models"))
    parser.add_argument("--llama-cpp", action="store_true")
    arguments = parser.parse_args()
    models = {}
    for seed, (name, case) in enumerate(CASES.items()):
        folder = arguments.out / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        model = make_model(case, seed)
        save(model, case, folder)
        ids = np.random.default_rng(seed).integers(3, VOCAB, TOKENS).astype(np.int32)
        models[name] = (model, ids, logits_of(model, ids))
        write_golden(folder, *models[name][1:])
    for name, (source, kind, part_tensors) in GGUF_CASES.items():
        folder = arguments.out / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        model, ids, logits = models[source]
        path = save_gguf(model, CASES[source], kind, part_tensors, folder)
        write_golden(folder, ids, logits)
        if arguments.llama_cpp:
            check_llama_cpp(path, ids, logits)
    for folder in sorted(arguments.out.iterdir()):
        if folder.is_dir():
            print(folder.name, sum(f.stat().st_size for f in folder.iterdir()), "bytes")


if __name__ == "__main__":
    main()
