#!/usr/bin/env python3
"""Writes tests/data/rope/goldens.json: config.json texts, and the rope that transformers makes.

    make_rope_goldens.py --out tests/data/rope/goldens.json

Of each config: the angles per position of all pairs (float32) and the factor on cosines and sines,
from transformers' ROPE_INIT_FUNCTIONS.
"""

import argparse
import copy
import json
from pathlib import Path

import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

BASE = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 256,
    "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 32, "max_position_embeddings": 32768,
}
# Beside what BASE says: rope_scaling and what else differs.
CASES = {
    "linear": ({"type": "linear", "factor": 2.5}, {}),
    "llama3": ({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
               {"rope_theta": 500000.0, "head_dim": 128, "max_position_embeddings": 131072}),
    "yarn as Qwen2 documents it": ({"type": "yarn", "factor": 4.0,
                                    "original_max_position_embeddings": 32768},
                                   {"rope_theta": 1000000.0, "head_dim": 128}),
    "yarn over the config's context": ({"rope_type": "yarn", "factor": 16.0}, {}),
    "yarn with betas": ({"rope_type": "yarn", "factor": 8.0, "beta_fast": 24.0, "beta_slow": 3.0,
                         "original_max_position_embeddings": 4096}, {}),
    "yarn, betas of 0 mean the default": ({"rope_type": "yarn", "factor": 8.0, "beta_fast": 0,
                                           "beta_slow": 0,
                                           "original_max_position_embeddings": 4096}, {}),
    "yarn with equal betas": ({"rope_type": "yarn", "factor": 8.0, "beta_fast": 4.0,
                               "beta_slow": 4.0, "truncate": False,
                               "original_max_position_embeddings": 4096}, {}),
    "yarn, attention_factor given": ({"rope_type": "yarn", "factor": 32.0,
                                      "attention_factor": 0.75, "mscale": 2.0,
                                      "mscale_all_dim": 0.5,
                                      "original_max_position_embeddings": 4096}, {}),
    "yarn, mscale and mscale_all_dim": ({"rope_type": "yarn", "factor": 40.0, "mscale": 1.0,
                                         "mscale_all_dim": 0.7,
                                         "original_max_position_embeddings": 4096}, {}),
    "yarn, mscale alone is ignored": ({"rope_type": "yarn", "factor": 40.0, "mscale": 0.5,
                                       "original_max_position_embeddings": 4096}, {}),
    "yarn, not truncated": ({"rope_type": "yarn", "factor": 32.0, "truncate": False,
                             "original_max_position_embeddings": 4096},
                            {"rope_theta": 150000.0}),
    "yarn of a tiny context": ({"rope_type": "yarn", "factor": 4.0,
                                "original_max_position_embeddings": 16}, {}),
    "yarn of a huge context and a small base": ({"rope_type": "yarn", "factor": 2.0,
                                                 "original_max_position_embeddings": 10000000},
                                                {"rope_theta": 30.0}),
    "yarn of factor 1": ({"rope_type": "yarn", "factor": 1.0,
                          "original_max_position_embeddings": 2048}, {}),
}


def golden(name: str) -> dict:
    scaling, changes = CASES[name]
    config = {"rope_theta": 10000.0, **BASE, **changes, "rope_scaling": scaling}
    kind = scaling.get("rope_type", scaling.get("type"))
    parsed = LlamaConfig(**copy.deepcopy(config))
    frequencies, factor = ROPE_INIT_FUNCTIONS[kind](parsed, torch.device("cpu"))
    assert frequencies.shape == (config["head_dim"] // 2,)
    return {"name": name, "config": config, "attention_factor": factor,
            "frequencies": [float(f) for f in frequencies.float()]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("tests/data/rope/goldens.json"))
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(golden(name)) for name in CASES)
    arguments.out.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{arguments.out.name}: {len(CASES)} cases")


if __name__ == "__main__":
    main()
