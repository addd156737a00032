// DecodeShape: what decode steps of about the same batch have in common, so that a backend with
// graphs (Backend::has_graphs) repeats one for all of them. Plain data, made on the host.
//
// A graph fixes how many rows and list items each operation has. So a step of n sequences is padded
// to the rows of its bucket by rows that are no token: they have no slot (kNoSlot), and no item of
// any list is theirs. Lists are padded to the bucket by items that have nothing to do. What a real
// row gets stays the same, bit for bit: operations treat rows one by one.
//
// A bucket has a graph for each way in which its sequences may select (none; together in the same
// layers, one way for each phase of the reuse; or not together) and for each doubling of the
// longest list (DecodePlan::Bounds).
#pragma once

#include <cstdint>

#include "attention/attention_config.h"
#include "attention/batch_view.h"

namespace lserve {

// Rows of a step of `num_sequences`: 1, 2, 4, 8 or a multiple of 8, but at most `most`, which the
// engine was planned for. REQUIRES: 1 <= num_sequences <= most.
int64_t decode_bucket(int64_t num_sequences, int64_t most);

struct DecodeShape {
  int64_t num_rows = 0;  // sequences and padding
  // Whether any sequence reads a selection, being beyond the budget; pages of the longest such.
  bool selects = false;
  int32_t max_num_pages = 0;
  // Whether those sequences select anew in the same layers. Else every layer's lists are made as
  // if one did, because there are too many ways in which some do.
  bool together = true;
};

// REQUIRES: before plan_decode(), which notes the refreshes.
DecodeShape decode_shape(const BatchView& batch, const AttentionConfig& config, int64_t num_layers,
                         int64_t num_rows);

}  // namespace lserve
