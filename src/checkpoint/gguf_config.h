// The metadata of a GGUF file -> ModelConfig, and GGUF's tensor names <-> Hugging Face's.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "checkpoint/gguf.h"
#include "checkpoint/model_config.h"

namespace lserve {

// Architectures llama and qwen2. The vocabulary is as large as token_embd.weight has rows, and the
// embedding is tied if there is no output.weight, so the table of tensors must be that of the whole
// model: `gguf` is the first file, `tensors` those of all its parts.
Result<ModelConfig> parse_gguf_config(const Gguf& gguf, std::span<const GgufTensor> tensors);

// rope_freqs.weight, the per-channel divisors of a llama3-scaled file, out of `tensor` of `file`.
// REQUIRES: config.head_dim is checked.
Result<std::vector<float>> read_freq_factors(const File& file, const GgufTensor& tensor,
                                             const ModelConfig& config);

// "blk.0.attn_q.weight" -> "model.layers.0.self_attn.q_proj.weight"; empty if it has no equivalent.
std::optional<std::string> hf_name_of(std::string_view gguf_name);
// The other way; the name itself if it has no equivalent.
std::string gguf_name_of(const std::string& hf_name);

// Whether the rows of this tensor are stored in the order of interleaved rope: Q and K of llama.
bool has_permuted_rows(const ModelConfig& config, std::string_view hf_name);

}  // namespace lserve
