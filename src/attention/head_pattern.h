// HeadPattern: the class of every (layer, KV head). Static sparsity (paper section 3.2, after
// DuoAttention).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "kv_cache/kv_cache.h"

namespace lserve {

class HeadPattern {
 public:
  // Every head in one class.
  static HeadPattern uniform(int64_t num_layers, int64_t num_kv_heads, HeadClass c);
  // The round(fraction * L * Hkv) heads with the lowest gates stream; ties by (layer, head), so the
  // same gates always give the same pattern. Gates are [num_layers, num_kv_heads]. REQUIRES: 0 <=
  // fraction <= 1, gates finite and of that size.
  static HeadPattern from_gates(int64_t num_layers, int64_t num_kv_heads,
                                std::span<const double> gates, double fraction);

  int64_t num_layers() const { return static_cast<int64_t>(layers_.size()); }
  int64_t num_kv_heads() const { return num_kv_heads_; }
  int64_t num_streaming() const;
  // KV heads of that class in the layer, ascending; a head's place in it is its rank in the pool.
  std::span<const int32_t> heads(int64_t layer, HeadClass c) const {
    return layers_[static_cast<size_t>(layer)].heads[index_of(c)];
  }

 private:
  struct Layer {
    std::array<std::vector<int32_t>, kNumHeadClasses> heads;
  };
  int64_t num_kv_heads_ = 0;
  std::vector<Layer> layers_;
};

}  // namespace lserve
