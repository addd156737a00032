#include "model/step.h"

#include <algorithm>

namespace lserve {

void Step::reserve(int64_t max_tokens, int64_t num_sequences, int64_t max_pages) {
  const auto tokens = static_cast<size_t>(std::max(max_tokens, num_sequences));
  token_ids.reserve(tokens);
  positions.reserve(tokens);
  for (std::vector<int64_t>& of_class : slots) of_class.reserve(tokens);
  prefill.reserve(1, max_pages);
  decode.reserve(num_sequences, num_sequences * max_pages);
}

void Step::clear() {
  token_ids.clear();
  positions.clear();
  for (auto& list : slots) list.clear();
  prefill.clear();
  decode.clear();
}

AttentionCounts& AttentionCounts::operator+=(const AttentionCounts& other) {
  prefill_read += other.prefill_read;
  prefill_held += other.prefill_held;
  decode_read += other.decode_read;
  decode_held += other.decode_held;
  refreshes += other.refreshes;
  return *this;
}

}  // namespace lserve
