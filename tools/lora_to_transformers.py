"""Puts a PEFT adapter on a model of transformers, in float32, not merged. A module for the offline
tools: the oracle computes y = W x + scale B (A x) as the engine does.
"""

from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding


def put_adapter(model: LlamaForCausalLM, directory: Path) -> PeftModel:
    """The model with the adapter; a config.json beside the adapter sets rope and context."""
    if (directory / "config.json").is_file():
        own = AutoConfig.from_pretrained(directory)
        model.config.rope_parameters = own.rope_parameters
        model.config.max_position_embeddings = own.max_position_embeddings
        model.model.rotary_emb = LlamaRotaryEmbedding(model.config)
    adapted = PeftModel.from_pretrained(model, str(directory), torch_dtype=torch.float32)
    return adapted.float().eval()
