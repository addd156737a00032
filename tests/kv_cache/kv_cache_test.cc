#include "kv_cache/kv_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "support/memory_backend.h"

namespace lserve {
namespace {

using ::lserve::testing::MemoryBackend;

KvCacheConfig small_config() {
  KvCacheConfig config;
  config.num_heads = {{3, 1}, {0, 4}, {4, 0}};
  config.head_dim = 64;
  config.format = KvFormat::kInt8;
  config.logical_page_size = 16;
  config.key_stats = true;
  config.num_pages = {5, 7};
  return config;
}

TEST(KvCache, BytesOfAPageAreCountedByHand) {
  const KvCacheConfig config = small_config();
  // int8, head_dim 64: K and V codes 64 * 64 each, two scales of 4 bytes a token.
  const int64_t tile = 2 * 64 * 64 + 2 * 64 * 4;
  const int64_t stats = 4 * 2 * 64 * 2;  // 4 logical pages, min and max, bf16
  EXPECT_EQ(config.page_bytes(HeadClass::kRetrieval), (3 + 0 + 4) * (tile + stats));
  EXPECT_EQ(config.page_bytes(HeadClass::kStreaming), (1 + 4 + 0) * tile);
  EXPECT_EQ(config.total_bytes(), 5 * 7 * (tile + stats) + 7 * 5 * tile);

  KvCacheConfig plain = config;
  plain.key_stats = false;
  plain.format = KvFormat::kBF16;
  EXPECT_EQ(plain.page_bytes(HeadClass::kRetrieval), 7 * 2 * 64 * 64 * 2);

  KvCacheConfig narrow = config;
  narrow.format = KvFormat::kInt4;
  narrow.page_score = PageScore::kMeanStd;
  // Two codes a byte; 4 means of 64 and 4 spreads, to whole lines of 32 numbers.
  const int64_t narrow_tile = 2 * 64 * 32 + 2 * 64 * 4;
  EXPECT_EQ(narrow.page_bytes(HeadClass::kStreaming), 5 * narrow_tile);
  EXPECT_EQ(narrow.page_bytes(HeadClass::kRetrieval), 7 * (narrow_tile + 288 * 2));

  // Of each of 4 logical pages 128 codes, 8 units and 8 bytes of padding.
  narrow.page_score = PageScore::kMinMax;
  narrow.stats_format = KeyStatsFormat::kInt8;
  EXPECT_EQ(narrow.page_bytes(HeadClass::kRetrieval), 7 * (narrow_tile + 4 * 144));
}

TEST(KvCache, AllocatesExactlyWhatItSays) {
  const KvCacheConfig config = small_config();
  MemoryBackend backend;
  const auto cache = KvCache::create(config, backend);
  ASSERT_TRUE(cache.ok());
  const int64_t bytes =
      std::accumulate(backend.allocated_bytes.begin(), backend.allocated_bytes.end(), int64_t{0});
  EXPECT_EQ(bytes, config.total_bytes());
  EXPECT_EQ(std::count(backend.allocated_bytes.begin(), backend.allocated_bytes.end(), 0), 0);
  EXPECT_TRUE(config.has_heads(HeadClass::kStreaming));
}

TEST(KvCache, ViewsCoverTheirMemoryAndNothingElse) {
  const KvCacheConfig config = small_config();
  MemoryBackend backend;
  const auto cache = std::move(KvCache::create(config, backend)).value();
  for (int64_t layer = 0; layer < 3; ++layer) {
    for (const HeadClass c : {HeadClass::kRetrieval, HeadClass::kStreaming}) {
      const PagedKvView view = cache->view(layer, c);
      EXPECT_EQ(view.tiles, cache->views(layer)[index_of(c)].tiles);
      const int32_t heads = config.num_heads[static_cast<size_t>(layer)][index_of(c)];
      EXPECT_EQ(view.num_heads, heads);
      EXPECT_EQ(view.num_pages, config.num_pages[index_of(c)]);
      EXPECT_EQ(view.tiles == nullptr, heads == 0);
      EXPECT_EQ(view.key_stats != nullptr, heads > 0 && c == HeadClass::kRetrieval);
      if (heads == 0) continue;
      // Every byte may be written (the sanitizer watches), and pages follow each other.
      std::fill_n(view.tile(0, 0), view.num_pages * view.page_bytes(), std::byte{0x5A});
      EXPECT_EQ(view.tile(1, 0), view.tile(0, 0) + view.page_bytes());
      if (view.key_stats == nullptr) continue;
      const int64_t elements = view.num_pages * view.num_heads * view.stats_elements();
      std::fill_n(view.stats(0, 0), elements, bf16{0x3F80});
      EXPECT_EQ(view.stats(view.num_pages - 1, heads - 1) + view.stats_elements(),
                view.stats(0, 0) + elements);
    }
  }
}

TEST(KvCache, RefusedMemoryIsAStatusAtEveryAllocation) {
  const KvCacheConfig config = small_config();
  MemoryBackend probe;
  ASSERT_TRUE(KvCache::create(config, probe).ok());
  const auto allocations = static_cast<int64_t>(probe.allocated_bytes.size());
  ASSERT_EQ(allocations, 6);  // two pools of layer 0, one of layers 1 and 2, statistics of two
  for (int64_t n = 0; n < allocations; ++n) {
    MemoryBackend backend(n);
    const auto cache = KvCache::create(config, backend);
    ASSERT_FALSE(cache.ok()) << n;
    EXPECT_EQ(cache.status().kind(), ErrorKind::kMemory);
    EXPECT_EQ(cache.status().message().find('\n'), std::string::npos);
  }
}

TEST(KvCache, TooManyPagesAreRefusedBeforeAnyMemory) {
  for (const int64_t pages : {int64_t{1} << 31, int64_t{1} << 62}) {
    KvCacheConfig config = small_config();
    config.num_pages[1] = pages;
    MemoryBackend backend;
    const auto cache = KvCache::create(config, backend);
    ASSERT_FALSE(cache.ok());
    EXPECT_EQ(cache.status().kind(), ErrorKind::kMemory);
    EXPECT_NE(cache.status().message().find("streaming"), std::string::npos);
    EXPECT_TRUE(backend.allocated_bytes.empty());
  }
}

TEST(KvCacheDeathTest, LayerOutOfRange) {
  MemoryBackend backend;
  const auto cache = std::move(KvCache::create(small_config(), backend)).value();
  EXPECT_DEATH(cache->view(3, HeadClass::kRetrieval), "layer");
  EXPECT_DEATH(cache->view(-1, HeadClass::kRetrieval), "layer");
}

}  // namespace
}  // namespace lserve
