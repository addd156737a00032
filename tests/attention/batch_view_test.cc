#include "attention/batch_view.h"

#include <gtest/gtest.h>

#include "support/memory_backend.h"

namespace lserve {
namespace {

std::unique_ptr<KvCache> make_cache(Backend& backend) {
  KvCacheConfig config;
  config.num_heads = {{1, 1}};
  config.head_dim = 64;
  config.num_pages = {20, 20};
  return KvCache::create(config, backend).value();
}

TEST(BatchView, RowsAndTablesFollowEachOther) {
  testing::MemoryBackend backend;
  const auto cache = make_cache(backend);
  SequencePages a(*cache);
  SequencePages b(*cache);
  ASSERT_TRUE(a.extend(300).ok());
  ASSERT_TRUE(b.extend(70).ok());
  a.drop_outside_window(64, 64);

  BatchView batch;
  for (int round = 0; round < 2; ++round) {  // clear() must leave nothing behind
    batch.clear();
    batch.add(a, 5, nullptr);
    batch.add(b, 70, nullptr);
    batch.add(a, 1, nullptr);
    ASSERT_EQ(batch.sequences.size(), 3U);
    EXPECT_EQ(batch.sequences[0].position, 295);
    EXPECT_EQ(batch.sequences[0].kv_len(), 300);
    EXPECT_EQ(batch.sequences[1].q_begin, 5);
    EXPECT_EQ(batch.sequences[1].position, 0);
    EXPECT_EQ(batch.sequences[2].q_begin, 75);
    for (const HeadClass c : {HeadClass::kRetrieval, HeadClass::kStreaming}) {
      const std::vector<int32_t>& ids = batch.page_ids[index_of(c)];
      ASSERT_EQ(ids.size(), 12U);
      EXPECT_EQ(batch.tables()[index_of(c)].data(), ids.data());
      EXPECT_EQ(batch.sequences[1].page_table[index_of(c)], 5);
      EXPECT_EQ(batch.sequences[2].page_table[index_of(c)], 7);
      for (size_t i = 0; i < 5; ++i) EXPECT_EQ(ids[i], a.table(c).ids()[i]);
      for (size_t i = 0; i < 2; ++i) EXPECT_EQ(ids[5 + i], b.table(c).ids()[i]);
    }
    EXPECT_EQ(batch.page_ids[index_of(HeadClass::kStreaming)][1], kNoPage);
  }
}

TEST(BatchViewDeathTest, NewTokensMustHaveSlots) {
  testing::MemoryBackend backend;
  const auto cache = make_cache(backend);
  SequencePages pages(*cache);
  ASSERT_TRUE(pages.extend(3).ok());
  BatchView batch;
  EXPECT_DEATH(batch.add(pages, 4, nullptr), "q_len");
  EXPECT_DEATH(batch.add(pages, 0, nullptr), "q_len");
}

}  // namespace
}  // namespace lserve
