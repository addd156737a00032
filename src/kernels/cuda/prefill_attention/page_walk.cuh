// Which pages a tile of query rows visits, and what its rows see of them.
#pragma once

#include <cstdint>

#include "kernels/cuda/common/plain_row.cuh"
#include "kernels/cuda/prefill_attention/config.h"

namespace lserve::cuda {

// The keys of a page that a position sees, as bits.
__device__ inline uint64_t visible_keys(int32_t page_idx, int32_t position, TokenWindow window) {
  const int32_t first = page_idx * kPageSize;
  const uint64_t local = ~first_bits(position + 1 - window.local_tokens - first);
  return first_bits(position + 1 - first) & (first_bits(window.sink_tokens - first) | local);
}

// The pages of an item's ranges, ascending, without those of which no position in [first, last]
// sees a key: they would change nothing.
class PageWalk {
 public:
  static constexpr int32_t kEnd = -1;

  __device__ PageWalk(const KeyBlockRange* ranges, int num_ranges, int32_t first, int32_t last,
                      TokenWindow window)
      : range_(ranges), left_(num_ranges), first_(first), last_(last), window_(window) {
    open();
  }

  __device__ int32_t next() {
    while (left_ > 0) {
      if (page_ >= end_) {
        ++range_;
        --left_;
        open();
        continue;
      }
      const int32_t page = page_++;
      const int32_t key = page * kPageSize;
      if (key > last_) return kEnd;
      const bool is_hidden =
          key >= window_.sink_tokens && key + kPageSize - 1 <= first_ - window_.local_tokens;
      if (!is_hidden) return page;
    }
    return kEnd;
  }

  // Whether some row does not see all of a page.
  __device__ bool is_boundary(int32_t page) const {
    const int32_t key = page * kPageSize;
    const bool all_causal = key + kPageSize - 1 <= first_;
    const bool all_in_window =
        key + kPageSize <= window_.sink_tokens || last_ - key < window_.local_tokens;
    return !(all_causal && all_in_window);
  }

 private:
  __device__ void open() {
    if (left_ <= 0) return;
    page_ = range_->begin;
    end_ = range_->end;
  }

  const KeyBlockRange* range_;
  int left_;
  int32_t first_;
  int32_t last_;
  TokenWindow window_;
  int32_t page_ = 0;
  int32_t end_ = 0;
};

}  // namespace lserve::cuda
