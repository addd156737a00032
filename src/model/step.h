// One turn of the engine as the model sees it: tokens, and the sequences they belong to.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "attention/batch_view.h"

namespace lserve {

// Rows of the step's activations: those of `prefill`'s sequences, then one for each of `decode`'s.
struct Step {
  std::vector<int32_t> token_ids;                           // [num_tokens]
  std::vector<int32_t> positions;                           // [num_tokens]
  std::array<std::vector<int64_t>, kNumHeadClasses> slots;  // [num_tokens] of each pool in use
  BatchView prefill;
  BatchView decode;

  int64_t num_tokens() const { return static_cast<int64_t>(token_ids.size()); }
  void clear();
  // Makes room for `max_tokens` of a prefill, or one of each sequence, of `max_pages` pages each.
  void reserve(int64_t max_tokens, int64_t num_sequences, int64_t max_pages);
};

// What attention read, summed over the layers of a step.
struct AttentionCounts {
  int64_t prefill_read = 0;  // key blocks x query blocks x KV heads
  int64_t prefill_held = 0;  // the same for dense attention
  int64_t decode_read = 0;   // pages x KV heads, once for every list that holds the page
  int64_t decode_held = 0;
  int64_t refreshes = 0;  // lists selected, one a (layer, KV head) or (layer, query head)
  AttentionCounts& operator+=(const AttentionCounts& other);
};

}  // namespace lserve
