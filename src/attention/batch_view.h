// What plans see of a batch: for each sequence, its rows of the step's activations and its page
// tables.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "kv_cache/sequence_pages.h"

namespace lserve {

class PageSelection;

struct BatchSequence {
  int32_t q_begin = 0;                                // first row of q
  int32_t q_len = 1;                                  // tokens this step
  int32_t position = 0;                               // of its first token this step
  std::array<int32_t, kNumHeadClasses> page_table{};  // offset of page_idx 0 in BatchView::page_ids
  PageSelection* selection = nullptr;                 // decode with page selection only

  int32_t kv_len() const { return position + q_len; }
};

struct BatchView {
  std::vector<BatchSequence> sequences;
  std::array<std::vector<int32_t>, kNumHeadClasses> page_ids;  // all tables, one after the other

  // Adds a sequence whose q_len new tokens already have slots in `pages`. REQUIRES: 1 <= q_len <=
  // pages.kv_len().
  void add(const SequencePages& pages, int32_t q_len, PageSelection* selection);
  // The tables by class, as the kernels take them.
  std::array<std::span<const int32_t>, kNumHeadClasses> tables() const {
    return {page_ids[0], page_ids[1]};
  }
  void clear();
  // Makes room for that many sequences with tables of `max_pages` pages in all.
  void reserve(int64_t num_sequences, int64_t max_pages);
};

}  // namespace lserve
