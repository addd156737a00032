// What the kernels of write_kv are launched with.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/paged_kv_view.h"

namespace lserve::cuda {

inline constexpr int kWriteKvWarps = 4;
inline constexpr int kWriteKvThreads = 32 * kWriteKvWarps;

struct WriteKvArgs {
  const float* k;  // [num_tokens, num_kv_heads, head_dim]
  const float* v;
  const int32_t* kv_heads;  // [num_heads]
  const int64_t* slots;     // [num_tokens]
  int64_t num_tokens;
  int32_t num_kv_heads;  // of the model
  int32_t num_heads;     // of the pool
  std::byte* tiles;
  bf16* key_stats;
  int64_t stats_elements;  // of a (page, head)
  int32_t logical_page_size;
  PageScore page_score;
};

}  // namespace lserve::cuda
