"""What the offline tools that read GGUF files of the `llama` architecture share: names and fields."""

import gguf

CONTROL = 3  # tokenizer.ggml.token_type of a control token
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def find_value(reader: gguf.GGUFReader, key: str):
    """A metadata value, or None."""
    field = reader.get_field(key)
    if field is None:
        return None
    return field.contents() if len(field.data) > 0 else []


def value_of(reader: gguf.GGUFReader, key: str, default=None):
    """A metadata value; `default` where the key is absent, an error where there is none."""
    value = find_value(reader, key)
    if value is None:
        value = default
    if value is None:
        raise SystemExit(f"the GGUF file has no key {key}")
    return value
