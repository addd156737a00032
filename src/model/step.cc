#include "model/step.h"

namespace lserve {

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
