// What a checkpoint says about its model: shapes, positions, token ids. Plain numbers, checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace lserve {

enum class RopeType { kDefault, kLinear, kLlama3, kYarn };

// Rotary position embedding, rotate-half form: pair (c, c + head_dim/2) turns by
// position * inv_freq[c], inv_freq[c] = theta^(-2c/head_dim), changed by the type:
//   kLinear  divided by factor
//   kLlama3  Llama 3.1's smooth blend between 1 and 1/factor by wavelength
//   kYarn    YaRN's blend between 1 and 1/factor by pair: a pair that turns beta_fast times or more
//            over the original context is kept, one that turns beta_slow times or less is stretched
struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 10000.0;
  double factor = 1.0;                   // of every type but kDefault
  double low_freq_factor = 1.0;          // kLlama3
  double high_freq_factor = 4.0;         // kLlama3
  int64_t original_max_position = 8192;  // kLlama3, kYarn
  double beta_fast = 32.0;               // kYarn
  double beta_slow = 1.0;                // kYarn
  bool whole_pairs = true;               // kYarn: the blend begins and ends at whole pairs
  // Every cosine and sine is multiplied by it; 1 for all types but kYarn.
  double attention_factor = 1.0;
  // GGUF's rope_freqs.weight: inv_freq[c] is divided by freq_factors[c]; empty if absent.
  std::vector<float> freq_factors;  // [head_dim / 2]
};

// Sampling defaults from generation_config.json; the command line and the environment come first.
struct GenerationDefaults {
  std::optional<double> temperature, top_p;
  std::optional<int64_t> top_k;
};

struct ModelConfig {
  std::string architecture;  // "LlamaForCausalLM", ..., or GGUF's "llama"
  int64_t num_layers = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_q_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;  // given explicitly by some models: never derived where it is
  int64_t vocab_size = 0;
  int64_t max_position = 0;  // the context that the model was made for
  double rms_norm_eps = 1e-5;
  bool tied_embeddings = false;  // lm_head is the embedding matrix
  bool qkv_bias = false;
  bool calibrated = false;  // its weights were rewritten: an adapter of the original does not fit
  RopeConfig rope;
  std::optional<int32_t> bos_token_id;
  std::vector<int32_t> eos_token_ids;
  GenerationDefaults generation;

  int64_t gqa_group_size() const { return num_q_heads / num_kv_heads; }
};

}  // namespace lserve
