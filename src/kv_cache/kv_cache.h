// KvCache: the two pools with their memory, for all layers. START HERE for floor 4.
//
// Contract in prose: docs/contracts/kv_cache.md. Per layer and class there is one allocation
// [page][head of the class][K | V | scales], and one for the key statistics of retrieval heads,
// [page][head of the class], both indexed by the same page ids. A layer may have no
// heads of a class. Not thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/status.h"
#include "kernels/backend.h"
#include "kernels/paged_kv_view.h"
#include "kv_cache/page_pool.h"
#include "kv_cache/page_table.h"

namespace lserve {

enum class HeadClass { kRetrieval = 0, kStreaming = 1 };
inline constexpr int kNumHeadClasses = 2;
constexpr size_t index_of(HeadClass c) { return static_cast<size_t>(c); }

struct KvCacheConfig {
  std::vector<std::array<int32_t, kNumHeadClasses>> num_heads;  // [num_layers][class]
  int32_t head_dim = 0;
  KvFormat format = KvFormat::kBF16;
  int32_t logical_page_size = 16;
  PageScore page_score = PageScore::kMinMax;
  KeyStatsFormat stats_format = KeyStatsFormat::kBF16;
  bool key_stats = false;  // kept for the retrieval pool only
  std::array<int64_t, kNumHeadClasses> num_pages{};

  // Bytes of one page over all layers, statistics included.
  int64_t page_bytes(HeadClass c) const;
  int64_t total_bytes() const;
  // What KvCache::create() asks the backend for: total_bytes() in parts.
  std::vector<int64_t> allocations() const;
  // Whether any layer has heads of that class.
  bool has_heads(HeadClass c) const;
};

class KvCache {
 public:
  // kMemory if the backend has no room, or the pages are more than ids can name. The backend must
  // outlive the cache. REQUIRES: a head_dim, counts that are not negative, and a logical page that
  // divides a page.
  static Result<std::unique_ptr<KvCache>> create(const KvCacheConfig& config, Backend& backend);

  const KvCacheConfig& config() const { return config_; }
  PagePool& pool(HeadClass c) { return pools_[index_of(c)]; }
  PagedKvView view(int64_t layer, HeadClass c) const;
  // The memory of one page, page_bytes(c) in all: for each layer its tiles, then its key statistics
  // if they are kept. That is the whole of a full page, bit for bit, in the backend's memory.
  std::vector<std::span<std::byte>> page_memory(HeadClass c, int32_t page_id) const;
  // Both views of a layer, indexed by class: what the attention kernels take.
  std::array<PagedKvView, kNumHeadClasses> views(int64_t layer) const;

 private:
  explicit KvCache(const KvCacheConfig& config);

  KvCacheConfig config_;
  std::array<PagePool, kNumHeadClasses> pools_;
  std::vector<std::array<Buffer, kNumHeadClasses>> tiles_;  // [num_layers]
  std::vector<Buffer> key_stats_;                           // [num_layers], retrieval
};

}  // namespace lserve
