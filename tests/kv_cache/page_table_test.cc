#include "kv_cache/page_table.h"

#include <gtest/gtest.h>

#include <set>
#include <utility>

#include "base/random.h"

namespace lserve {
namespace {

TEST(PageTable, ExtendsAndGivesBack) {
  PagePool pool(5);
  {
    PageTable table(pool);
    ASSERT_TRUE(table.extend_to(3).ok());
    ASSERT_TRUE(table.extend_to(3).ok());
    ASSERT_TRUE(table.extend_to(1).ok());  // covers it already
    EXPECT_EQ(table.num_pages(), 3);
    EXPECT_EQ(table.num_held(), 3);
    EXPECT_EQ(pool.num_free(), 2);
  }
  EXPECT_EQ(pool.num_free(), 5);
}

TEST(PageTable, FullPoolChangesNothingAndNamesTheNumbers) {
  PagePool pool(4);
  PageTable table(pool);
  ASSERT_TRUE(table.extend_to(2).ok());
  const Status status = table.extend_to(5);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.kind(), ErrorKind::kMemory);
  EXPECT_NE(status.message().find("3 pages"), std::string::npos) << status.message();
  EXPECT_NE(status.message().find("2 of 4 free"), std::string::npos) << status.message();
  EXPECT_EQ(status.message().find('\n'), std::string::npos);
  EXPECT_EQ(table.num_pages(), 2);
  EXPECT_EQ(pool.num_free(), 2);
  EXPECT_TRUE(table.extend_to(4).ok());
}

TEST(PageTable, DropLeavesHolesAndIndices) {
  PagePool pool(6);
  PageTable table(pool);
  ASSERT_TRUE(table.extend_to(6).ok());
  const std::vector<int32_t> before(table.ids().begin(), table.ids().end());
  table.drop(2, 4);
  table.drop(1, 5);  // overlaps what was dropped before
  table.drop(5, 2);  // empty
  EXPECT_EQ(table.num_pages(), 6);
  EXPECT_EQ(table.num_held(), 2);
  EXPECT_EQ(pool.num_free(), 4);
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(table.ids()[i], i == 0 || i == 5 ? before[i] : kNoPage) << i;
  }
}

TEST(PageTableDeathTest, DropsOnlyItsOwnPages) {
  PagePool pool(6);
  PageTable table(pool);
  ASSERT_TRUE(table.extend_to(3).ok());
  EXPECT_DEATH(table.drop(0, 4), "num_pages");
  EXPECT_DEATH(table.drop(-1, 2), "begin");
}

TEST(PageTable, MovedFromIsEmpty) {
  PagePool pool(6);
  PageTable a(pool);
  ASSERT_TRUE(a.extend_to(3).ok());
  PageTable b(std::move(a));
  EXPECT_EQ(b.num_held(), 3);
  EXPECT_EQ(a.num_pages(), 0);  // NOLINT: what a moved-from table is, is under test
  PageTable c(pool);
  ASSERT_TRUE(c.extend_to(2).ok());
  c = std::move(b);  // gives its own two back
  EXPECT_EQ(c.num_held(), 3);
  EXPECT_EQ(pool.num_free(), 3);
  PageTable& same = c;
  c = std::move(same);
  EXPECT_EQ(c.num_held(), 3);
}

TEST(PageTable, ForkSharesPagesAndHoles) {
  PagePool pool(4);
  PageTable parent(pool);
  ASSERT_TRUE(parent.extend_to(3).ok());
  parent.drop(1, 2);
  PageTable child = parent.fork();
  EXPECT_EQ(child.num_held(), 2);
  EXPECT_EQ(child.ids()[1], kNoPage);
  EXPECT_EQ(pool.num_owners(child.ids()[0]), 2);
  parent.clear();
  EXPECT_EQ(pool.num_free(), 2);  // the child's two are still there
  ASSERT_TRUE(child.extend_to(5).ok());
  child.clear();
  EXPECT_EQ(pool.num_free(), 4);
}

// Many tables on one small pool, against the sum of what they hold.
TEST(PageTable, LedgerHoldsAfterEveryRandomOperation) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Random random(seed);
    PagePool pool(random.integer(1, 30));
    std::vector<PageTable> tables;
    for (int step = 0; step < 150; ++step) {
      if (tables.empty() || random.integer(0, 6) == 0) tables.emplace_back(pool);
      const auto i =
          static_cast<size_t>(random.integer(0, static_cast<int64_t>(tables.size()) - 1));
      PageTable& table = tables[i];
      switch (random.integer(0, 4)) {
        case 0:
        case 1: {
          const int64_t before = table.num_pages();
          const int64_t target = random.integer(0, 12);
          const bool fits = target - before <= pool.num_free();
          ASSERT_EQ(table.extend_to(target).ok(), fits);
          ASSERT_EQ(table.num_pages(), fits ? std::max(before, target) : before);
          break;
        }
        case 2: {
          const int64_t begin = random.integer(0, table.num_pages());
          table.drop(begin, random.integer(begin, table.num_pages()));
          break;
        }
        case 3:
          tables.push_back(table.fork());
          break;
        default:
          tables.erase(tables.begin() + static_cast<std::ptrdiff_t>(i));
          break;
      }
      pool.check_integrity();
      std::set<int32_t> held;
      int64_t references = 0;
      for (const PageTable& t : tables) {
        int64_t count = 0;
        for (const int32_t id : t.ids()) {
          if (id == kNoPage) continue;
          held.insert(id);
          ++count;
        }
        ASSERT_EQ(t.num_held(), count);
        references += count;
      }
      int64_t owners = 0;
      for (int32_t id = 0; id < pool.num_pages(); ++id) owners += pool.num_owners(id);
      ASSERT_EQ(owners, references);
      ASSERT_EQ(pool.ledger().owned, static_cast<int64_t>(held.size()));
    }
    tables.clear();
    ASSERT_EQ(pool.num_free(), pool.num_pages());
  }
}

}  // namespace
}  // namespace lserve
