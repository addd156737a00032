// The checks that do not depend on the form of the checkpoint, so that both forms refuse alike.
#include "checkpoint/config_limits.h"

#include <algorithm>

#include "base/strings.h"

namespace lserve {

namespace {
constexpr int64_t kMaxGqaGroup = 8;
constexpr size_t kMaxComparedBytes = 128;  // of an untrusted name
}  // namespace

Status check_model_config(const ModelConfig& config, const std::string& where) {
  const auto fail = [&](const auto&... why) { return model_error(cat(where, ": ", why...)); };
  if (config.num_q_heads % config.num_kv_heads != 0 || config.gqa_group_size() > kMaxGqaGroup) {
    return fail(config.num_q_heads, " query heads and ", config.num_kv_heads,
                " KV heads: their ratio must be a whole number from 1 to ", kMaxGqaGroup);
  }
  if (config.head_dim != 64 && config.head_dim != 128) {
    return fail("head_dim ", config.head_dim, " is not supported (supported: 64, 128)");
  }
  const auto is_token = [&](int32_t id) { return id >= 0 && id < config.vocab_size; };
  if (config.bos_token_id && !is_token(*config.bos_token_id)) {
    return fail("bos_token_id ", *config.bos_token_id, " is outside of the vocabulary of ",
                config.vocab_size);
  }
  for (const int32_t id : config.eos_token_ids) {
    if (!is_token(id)) {
      return fail("eos_token_id ", id, " is outside of the vocabulary of ", config.vocab_size);
    }
  }
  return {};
}

Status unsupported_architecture(const std::string& where, std::string_view name,
                                std::span<const std::string> supported) {
  std::string list;
  for (const std::string& one : supported) list += cat(list.empty() ? "" : ", ", one);
  const auto nearest = did_you_mean(name.substr(0, kMaxComparedBytes), supported);
  return model_error(cat(where, ": architecture ", quoted(name), " is not supported (supported: ",
                         list, ").", nearest ? cat(" Nearest: ", *nearest, ".") : ""));
}

void extend_context(ModelConfig& config) {
  if (config.rope.type != RopeType::kYarn) return;
  const double reach = config.rope.factor * static_cast<double>(config.rope.original_max_position);
  const auto most = static_cast<double>(kPositionRange.max);
  config.max_position = std::max(config.max_position, static_cast<int64_t>(std::min(reach, most)));
}

void add_eos_token(ModelConfig& config, int32_t id) {
  if (std::ranges::find(config.eos_token_ids, id) == config.eos_token_ids.end()) {
    config.eos_token_ids.push_back(id);
  }
}

}  // namespace lserve
