// Sequence: the running state of one request: its tokens, its pages, its page selection.
#pragma once

#include <cstdint>
#include <vector>

#include "attention/page_selection.h"
#include "kv_cache/sequence_pages.h"

namespace lserve {

struct Sequence {
  SequencePages pages;
  PageSelection selection;
  std::vector<int32_t> tokens;  // those whose keys and values are in the cache

  int64_t kv_len() const { return pages.kv_len(); }
};

}  // namespace lserve
