// adapter_config.json of a PEFT adapter -> LoraConfig.
//
// PEFT writes names of modules ("q_proj", "layers.3.mlp.up_proj") where it means every module whose
// full name ends so, at a dot; one that begins with "^" is a full name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/status.h"

namespace lserve {

class LoraConfig {
 public:
  // Whatever would change the result and is not implemented (DoRA, biases, modules saved whole, a
  // changed base, a pattern that is a regular expression) is refused by name. `where` names the
  // document. REQUIRES: config.is_object().
  static Result<LoraConfig> parse(const Json& config, const std::string& where);

  // `module` is a full name: "model.layers.0.self_attn.q_proj".
  int64_t rank(std::string_view module) const;
  // alpha / rank, or alpha / sqrt(rank) if use_rslora.
  double scale(std::string_view module) const;
  // Whether the adapter must have a pair for the module; empty where the document does not say it
  // in a form that is read (target_modules as a regular expression).
  std::optional<bool> is_target(std::string_view module, int64_t layer) const;

 private:
  template <typename T>
  using Pattern = std::vector<std::pair<std::string, T>>;

  int64_t rank_ = 0;
  double alpha_ = 0;
  bool rank_stabilised_ = false;
  Pattern<int64_t> ranks_;  // rank_pattern, alpha_pattern: the first that matches counts
  Pattern<double> alphas_;
  bool all_linear_ = false;
  bool targets_known_ = false;
  std::vector<std::string> targets_;
  std::vector<int64_t> layers_;  // layers_to_transform; empty: all
};

}  // namespace lserve
