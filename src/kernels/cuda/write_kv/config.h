// What the kernel of write_kv and rope_write_kv is launched with.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/common/paged_kv.cuh"

namespace lserve::cuda {

inline constexpr int kWriteKvWarps = 4;
inline constexpr int kWriteKvThreads = kWarpSize * kWriteKvWarps;
// Of a multiprocessor: leaves 64 registers a thread, which is more than is needed. Without it the
// compiler aims at more CTAs, and spills.
inline constexpr int kWriteKvCtas = 8;

// One pool, and which of the model's heads it holds.
struct WriteKvPool {
  const int32_t* kv_heads = nullptr;  // [num_heads]
  const int64_t* slots = nullptr;     // [num_tokens]
  std::byte* tiles = nullptr;
  bf16* key_stats = nullptr;   // or null
  int64_t stats_elements = 0;  // of a (page, head)
  int32_t num_heads = 0;
  int32_t logical_page_size = kPageSize;
  PageScore page_score = PageScore::kMinMax;
  KeyStatsFormat stats_format = KeyStatsFormat::kBF16;
  int64_t codes_block_bytes = 0;  // kInt8: of a logical page
};

struct WriteKvArgs {
  const float* k = nullptr;  // [num_tokens, num_kv_heads, head_dim]
  const float* v = nullptr;
  float* q = nullptr;              // [num_tokens, num_q_heads, head_dim], turned in place
  const float* cos_sin = nullptr;  // [num_tokens, 2, head_dim / 2]; null: nothing is turned
  int64_t num_tokens = 0;
  int32_t num_kv_heads = 0;  // of the model
  int32_t num_q_heads = 0;   // 0 without cos_sin
  WriteKvPool pools[kMaxPools] = {};
};

}  // namespace lserve::cuda
