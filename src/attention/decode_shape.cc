#include "attention/decode_shape.h"

#include <algorithm>
#include <bit>

#include "attention/page_selection.h"
#include "base/check.h"
#include "base/checked_math.h"

namespace lserve {

namespace {

constexpr int64_t kBucketStep = 8;  // rows; below it, buckets double

bool select_in_same_layers(const BatchSequence& a, const BatchSequence& b, int64_t num_layers,
                           int32_t interval) {
  for (int64_t layer = 0; layer < num_layers; ++layer) {
    if (a.selection->needs_refresh(layer, a.position, interval) !=
        b.selection->needs_refresh(layer, b.position, interval)) {
      return false;
    }
  }
  return true;
}

}  // namespace

int64_t decode_bucket(int64_t num_sequences, int64_t most) {
  CHECK_GE(num_sequences, 1);
  CHECK_LE(num_sequences, most);
  const int64_t rows =
      num_sequences < kBucketStep
          ? static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(num_sequences)))
          : round_up(num_sequences, kBucketStep);
  return std::min(rows, most);
}

DecodeShape decode_shape(const BatchView& batch, const AttentionConfig& config, int64_t num_layers,
                         int64_t num_rows) {
  DecodeShape shape;
  shape.num_rows = num_rows;
  if (!has_page_selection(config.mode)) return shape;
  const BatchSequence* first = nullptr;
  for (const BatchSequence& sequence : batch.sequences) {
    const int32_t num_pages = ceil_div(sequence.kv_len(), int32_t{kPageSize});
    if (num_pages <= config.budget_pages()) continue;
    CHECK(sequence.selection != nullptr);
    if (first == nullptr) first = &sequence;
    shape.selects = true;
    shape.max_num_pages = std::max(shape.max_num_pages, num_pages);
    shape.together = shape.together &&
                     select_in_same_layers(*first, sequence, num_layers, config.reuse_interval);
  }
  return shape;
}

}  // namespace lserve
