#include "kv_cache/kv_cache.h"

#include <limits>
#include <optional>

#include "base/check.h"
#include "base/checked_math.h"
#include "base/strings.h"

namespace lserve {

namespace {

const char* class_name(HeadClass c) {
  return c == HeadClass::kRetrieval ? "retrieval" : "streaming";
}

// The view of a layer's pool, without memory: all sizes come from its methods, so that the bytes
// planned, allocated and read can not differ.
PagedKvView layout(const KvCacheConfig& config, size_t layer, HeadClass c) {
  PagedKvView view;
  view.format = config.format;
  view.num_pages = config.num_pages[index_of(c)];
  view.num_heads = config.num_heads[layer][index_of(c)];
  view.head_dim = config.head_dim;
  view.logical_page_size = config.logical_page_size;
  view.page_score = config.page_score;
  view.stats_format = config.stats_format;
  return view;
}

bool keeps_stats(const KvCacheConfig& config, HeadClass c) {
  return config.key_stats && c == HeadClass::kRetrieval;
}

int64_t stats_page_bytes(const PagedKvView& view) {
  return view.num_heads * view.stats_elements() * int64_t{sizeof(bf16)};
}

void check_config(const KvCacheConfig& config) {
  CHECK_GT(config.head_dim, 0);
  CHECK(config.logical_page_size > 0 && kPageSize % config.logical_page_size == 0);
  for (const auto& heads : config.num_heads) {
    for (const int32_t count : heads) CHECK_GE(count, 0);
  }
  for (const int64_t pages : config.num_pages) CHECK_GE(pages, 0);
}

// An id must fit an int32, and the bytes of the pool an int64: how many pages there are comes from
// a user's --max-model-len.
Status check_size(const KvCacheConfig& config, HeadClass c) {
  const int64_t pages = config.num_pages[index_of(c)];
  const auto bytes =
      checked_mul(static_cast<uint64_t>(pages), static_cast<uint64_t>(config.page_bytes(c)));
  constexpr int64_t kMaxPages = std::numeric_limits<int32_t>::max();
  if (pages <= kMaxPages && bytes && *bytes <= uint64_t{1} << 62) return {};
  return memory_error(cat("KV cache: ", pages, " ", class_name(c), " pages are too many (at most ",
                          kMaxPages, "); lower --max-model-len"));
}

// Leaves the buffer empty where there is nothing to keep.
Status allocate_pool(Backend& backend, int64_t bytes, const char* what, Buffer* buffer) {
  if (bytes == 0) return {};
  Result<Buffer> result = backend.allocate(static_cast<size_t>(bytes));
  if (!result.ok()) {
    return memory_error(cat("KV cache: no room for ", what, " of one layer (",
                            human_bytes(static_cast<uint64_t>(bytes)),
                            "); lower --max-model-len: ", result.status().message()));
  }
  *buffer = std::move(result).value();
  return {};
}

}  // namespace

int64_t KvCacheConfig::page_bytes(HeadClass c) const {
  int64_t bytes = 0;
  for (size_t layer = 0; layer < num_heads.size(); ++layer) {
    const PagedKvView view = layout(*this, layer, c);
    bytes += view.page_bytes() + (keeps_stats(*this, c) ? stats_page_bytes(view) : 0);
  }
  return bytes;
}

int64_t KvCacheConfig::total_bytes() const {
  int64_t bytes = 0;
  for (const HeadClass c : {HeadClass::kRetrieval, HeadClass::kStreaming}) {
    bytes += num_pages[index_of(c)] * page_bytes(c);
  }
  return bytes;
}

std::vector<int64_t> KvCacheConfig::allocations() const {
  std::vector<int64_t> parts;
  for (size_t layer = 0; layer < num_heads.size(); ++layer) {
    for (const HeadClass c : {HeadClass::kRetrieval, HeadClass::kStreaming}) {
      const PagedKvView view = layout(*this, layer, c);
      parts.push_back(view.num_pages * view.page_bytes());
      if (keeps_stats(*this, c)) parts.push_back(view.num_pages * stats_page_bytes(view));
    }
  }
  std::erase(parts, 0);
  return parts;
}

bool KvCacheConfig::has_heads(HeadClass c) const {
  for (const auto& heads : num_heads) {
    if (heads[index_of(c)] > 0) return true;
  }
  return false;
}

KvCache::KvCache(const KvCacheConfig& config)
    : config_(config),
      pools_{PagePool(config.num_pages[0]), PagePool(config.num_pages[1])},
      tiles_(config.num_heads.size()),
      key_stats_(config.num_heads.size()) {}

Result<std::unique_ptr<KvCache>> KvCache::create(const KvCacheConfig& config, Backend& backend) {
  check_config(config);
  for (const HeadClass c : {HeadClass::kRetrieval, HeadClass::kStreaming}) {
    RETURN_IF_ERROR(check_size(config, c));
  }
  std::unique_ptr<KvCache> cache(new KvCache(config));
  for (size_t layer = 0; layer < config.num_heads.size(); ++layer) {
    for (const HeadClass c : {HeadClass::kRetrieval, HeadClass::kStreaming}) {
      const PagedKvView view = layout(config, layer, c);
      RETURN_IF_ERROR(allocate_pool(backend, view.num_pages * view.page_bytes(), class_name(c),
                                    &cache->tiles_[layer][index_of(c)]));
      if (!keeps_stats(config, c)) continue;
      RETURN_IF_ERROR(allocate_pool(backend, view.num_pages * stats_page_bytes(view),
                                    "key statistics", &cache->key_stats_[layer]));
    }
  }
  return cache;
}

PagedKvView KvCache::view(int64_t layer, HeadClass c) const {
  CHECK(layer >= 0 && static_cast<size_t>(layer) < tiles_.size());
  const auto l = static_cast<size_t>(layer);
  PagedKvView view = layout(config_, l, c);
  view.tiles = tiles_[l][index_of(c)].as<std::byte>();
  if (keeps_stats(config_, c)) view.key_stats = key_stats_[l].as<bf16>();
  return view;
}

std::vector<std::span<std::byte>> KvCache::page_memory(HeadClass c, int32_t page_id) const {
  CHECK(page_id >= 0 && page_id < config_.num_pages[index_of(c)]);
  std::vector<std::span<std::byte>> parts;
  for (size_t layer = 0; layer < tiles_.size(); ++layer) {
    const PagedKvView of_layer = view(static_cast<int64_t>(layer), c);
    if (of_layer.num_heads == 0) continue;
    parts.emplace_back(of_layer.tile(page_id, 0), static_cast<size_t>(of_layer.page_bytes()));
    if (!keeps_stats(config_, c)) continue;
    parts.emplace_back(reinterpret_cast<std::byte*>(of_layer.stats(page_id, 0)),
                       static_cast<size_t>(stats_page_bytes(of_layer)));
  }
  return parts;
}

std::array<PagedKvView, kNumHeadClasses> KvCache::views(int64_t layer) const {
  return {view(layer, HeadClass::kRetrieval), view(layer, HeadClass::kStreaming)};
}

}  // namespace lserve
