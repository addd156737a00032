#include "kv_cache/sequence_pages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "support/memory_backend.h"

namespace lserve {
namespace {

using ::lserve::testing::MemoryBackend;

std::unique_ptr<KvCache> make_cache(Backend& backend,
                                    std::array<int32_t, kNumHeadClasses> num_heads,
                                    std::array<int64_t, kNumHeadClasses> num_pages) {
  KvCacheConfig config;
  config.num_heads = {num_heads};
  config.head_dim = 64;
  config.num_pages = num_pages;
  return KvCache::create(config, backend).value();
}

TEST(SequencePages, SlotsArePageIdTimesPageSizePlusOffset) {
  MemoryBackend backend;
  const auto cache = make_cache(backend, {1, 1}, {4, 4});
  SequencePages other(*cache);
  ASSERT_TRUE(other.extend(1).ok());  // so that page ids differ from page_idx
  SequencePages pages(*cache);
  ASSERT_TRUE(pages.extend(100).ok());
  ASSERT_TRUE(pages.extend(30).ok());
  EXPECT_EQ(pages.kv_len(), 130);
  std::vector<int64_t> slots(130);
  pages.fill_slots(HeadClass::kStreaming, 0, slots);
  for (int64_t i = 0; i < 130; ++i) {
    const int32_t id = pages.table(HeadClass::kStreaming).ids()[static_cast<size_t>(i / 64)];
    ASSERT_EQ(slots[static_cast<size_t>(i)], id * 64 + i % 64);
  }
  EXPECT_EQ(std::set<int64_t>(slots.begin(), slots.end()).size(), 130U);
  std::vector<int64_t> tail(3);
  pages.fill_slots(HeadClass::kStreaming, 127, tail);
  EXPECT_TRUE(std::equal(tail.begin(), tail.end(), slots.begin() + 127));
}

TEST(SequencePages, ClassWithoutHeadsIsLeftAlone) {
  MemoryBackend backend;
  const auto cache = make_cache(backend, {2, 0}, {4, 0});
  SequencePages pages(*cache);
  ASSERT_TRUE(pages.extend(200).ok());
  pages.drop_outside_window(0, 1);
  EXPECT_EQ(pages.table(HeadClass::kStreaming).num_pages(), 0);
  EXPECT_EQ(pages.table(HeadClass::kRetrieval).num_held(), 4);
}

TEST(SequencePages, ClassWithHeadsButNoPagesIsOutOfMemory) {
  MemoryBackend backend;
  const auto cache = make_cache(backend, {2, 2}, {4, 0});
  SequencePages pages(*cache);
  EXPECT_FALSE(pages.extend(1).ok());
  EXPECT_EQ(cache->pool(HeadClass::kRetrieval).num_free(), 4);
}

TEST(SequencePages, EitherFullPoolChangesNothing) {
  for (const size_t scarce : {size_t{0}, size_t{1}}) {
    MemoryBackend backend;
    std::array<int64_t, kNumHeadClasses> num_pages = {9, 9};
    num_pages[scarce] = 2;
    const auto cache = make_cache(backend, {1, 1}, num_pages);
    SequencePages pages(*cache);
    ASSERT_TRUE(pages.extend(64).ok());
    const Status status = pages.extend(65);
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.kind(), ErrorKind::kMemory);
    EXPECT_NE(status.message().find(scarce == 0 ? "2 retrieval" : "2 streaming"), std::string::npos)
        << status.message();
    EXPECT_EQ(pages.kv_len(), 64);
    for (const HeadClass c : {HeadClass::kRetrieval, HeadClass::kStreaming}) {
      EXPECT_EQ(pages.table(c).num_pages(), 1);
      EXPECT_EQ(cache->pool(c).num_free(), num_pages[index_of(c)] - 1);
      cache->pool(c).check_integrity();
    }
    EXPECT_TRUE(pages.extend(64).ok());
    EXPECT_TRUE(pages.extend(0).ok());
    EXPECT_FALSE(pages.extend(1).ok());
  }
}

TEST(SequencePagesDeathTest, SlotsThatDoNotExist) {
  MemoryBackend backend;
  const auto cache = make_cache(backend, {1, 1}, {9, 9});
  SequencePages pages(*cache);
  ASSERT_TRUE(pages.extend(300).ok());
  std::vector<int64_t> slots(2);
  EXPECT_DEATH(pages.fill_slots(HeadClass::kRetrieval, 299, slots), "kv_len");
  EXPECT_DEATH(pages.fill_slots(HeadClass::kRetrieval, -1, slots), "begin");
  pages.drop_outside_window(64, 64);
  pages.fill_slots(HeadClass::kRetrieval, 100, slots);  // nothing is dropped there
  EXPECT_DEATH(pages.fill_slots(HeadClass::kStreaming, 100, slots), "kNoPage");
}

// After every chunk the streaming table holds exactly the pages that the next query needs: those
// with a token that it sees, and its own. Retrieval pages never go.
TEST(SequencePages, StreamingTableHoldsTheWindowAndNothingElse) {
  for (const int64_t sink : {0, 1, 63, 64, 65, 100, 128, 129, 200}) {
    for (const int64_t local : {1, 2, 63, 64, 65, 66, 127, 128, 129, 200, 256}) {
      for (const int64_t chunk : {1, 7, 63, 64, 65, 100, 192}) {
        MemoryBackend backend;
        const auto cache = make_cache(backend, {1, 1}, {12, 12});
        SequencePages pages(*cache);
        while (pages.kv_len() < 500) {
          const int64_t begin = pages.kv_len();
          ASSERT_TRUE(pages.extend(chunk).ok());
          std::vector<int64_t> slots(static_cast<size_t>(chunk));
          pages.fill_slots(HeadClass::kStreaming, begin, slots);  // aborts if one is missing
          pages.drop_outside_window(sink, local);

          const int64_t query = pages.kv_len();
          std::vector<bool> needed(static_cast<size_t>(query / 64) + 1, false);
          for (int64_t key = 0; key <= query; ++key) {
            const bool visible = key < sink || query - key < local;
            if (visible) needed[static_cast<size_t>(key / 64)] = true;
          }
          const std::span<const int32_t> ids = pages.table(HeadClass::kStreaming).ids();
          for (size_t page = 0; page < ids.size(); ++page) {
            ASSERT_EQ(ids[page] != kNoPage, needed[page])
                << "page " << page << " sink " << sink << " local " << local << " kv_len " << query;
          }
        }
        EXPECT_EQ(pages.table(HeadClass::kRetrieval).num_held(),
                  pages.table(HeadClass::kRetrieval).num_pages());
        cache->pool(HeadClass::kStreaming).check_integrity();
      }
    }
  }
}

// The promise is for every later query too: what one query may drop, no later one needs.
TEST(SequencePages, LaterQueriesNeedNoDroppedPage) {
  MemoryBackend backend;
  const auto cache = make_cache(backend, {1, 1}, {12, 12});
  SequencePages pages(*cache);
  ASSERT_TRUE(pages.extend(517).ok());
  pages.drop_outside_window(70, 130);
  const std::span<const int32_t> ids = pages.table(HeadClass::kStreaming).ids();
  for (int64_t query = 517; query < 900; ++query) {
    for (int64_t key = 0; key < 517; ++key) {
      if (key >= 70 && query - key >= 130) continue;
      ASSERT_NE(ids[static_cast<size_t>(key / 64)], kNoPage) << query << " sees " << key;
    }
  }
}

TEST(SequencePages, EverythingComesBack) {
  MemoryBackend backend;
  const auto cache = make_cache(backend, {1, 1}, {12, 12});
  {
    SequencePages first(*cache);
    ASSERT_TRUE(first.extend(500).ok());
    first.drop_outside_window(64, 100);
    SequencePages second(std::move(first));
    EXPECT_EQ(second.kv_len(), 500);
    EXPECT_LT(cache->pool(HeadClass::kStreaming).ledger().owned, 8);
  }
  for (const HeadClass c : {HeadClass::kRetrieval, HeadClass::kStreaming}) {
    EXPECT_EQ(cache->pool(c).num_free(), 12);
    cache->pool(c).check_integrity();
  }
}

}  // namespace
}  // namespace lserve
