#include "kv_cache/page_pool.h"

#include <gtest/gtest.h>

#include <map>

#include "base/random.h"

namespace lserve {
namespace {

TEST(PagePool, HandsOutEveryPageOnceThenNothing) {
  PagePool pool(3);
  EXPECT_EQ(pool.allocate(), 0);
  EXPECT_EQ(pool.allocate(), 1);
  EXPECT_EQ(pool.allocate(), 2);
  EXPECT_EQ(pool.allocate(), std::nullopt);
  EXPECT_EQ(pool.num_free(), 0);
  pool.check_integrity();
}

TEST(PagePool, LastFreedIsFirstReused) {
  PagePool pool(4);
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(pool.allocate());
  pool.release(2);
  pool.release(0);
  EXPECT_EQ(pool.allocate(), 0);
  EXPECT_EQ(pool.allocate(), 2);
}

TEST(PagePool, EmptyPoolIsLegal) {
  PagePool pool(0);
  EXPECT_EQ(pool.allocate(), std::nullopt);
  EXPECT_TRUE(pool.ledger().balanced());
  pool.check_integrity();
}

TEST(PagePool, SharedPageIsFreedByItsLastOwner) {
  PagePool pool(1);
  const int32_t id = *pool.allocate();
  pool.share(id);
  EXPECT_EQ(pool.num_owners(id), 2);
  pool.release(id);
  EXPECT_EQ(pool.num_free(), 0);
  pool.release(id);
  EXPECT_EQ(pool.num_free(), 1);
}

TEST(PagePoolDeathTest, MistakesOfTheCallerAbort) {
  PagePool pool(2);
  const int32_t id = *pool.allocate();
  pool.release(id);
  EXPECT_DEATH(pool.release(id), "num_owners");  // freed twice
  EXPECT_DEATH(pool.share(id), "num_owners");    // shared after it was freed
  EXPECT_DEATH(pool.release(2), "num_pages");
  EXPECT_DEATH(pool.release(-1), "page_id");
  EXPECT_DEATH(PagePool(-1), "num_pages");
  EXPECT_DEATH(PagePool(int64_t{1} << 31), "num_pages");
}

TEST(PagePool, LedgerHoldsAfterEveryRandomOperation) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Random random(seed);
    PagePool pool(random.integer(1, 12));
    std::map<int32_t, int32_t> owners;  // what must be true
    for (int step = 0; step < 400; ++step) {
      const int64_t action = random.integer(0, 2);
      if (action == 0 || owners.empty()) {
        const std::optional<int32_t> id = pool.allocate();
        const bool room = static_cast<int64_t>(owners.size()) < pool.num_pages();
        ASSERT_EQ(id.has_value(), room);
        if (id) {
          ASSERT_TRUE(owners.emplace(*id, 1).second) << "page " << *id << " had an owner";
        }
      } else {
        auto victim = owners.begin();
        std::advance(victim, random.integer(0, static_cast<int64_t>(owners.size()) - 1));
        if (action == 1) {
          pool.share(victim->first);
          ++victim->second;
        } else {
          pool.release(victim->first);
          if (--victim->second == 0) owners.erase(victim);
        }
      }
      pool.check_integrity();
      const PageLedger ledger = pool.ledger();
      ASSERT_TRUE(ledger.balanced());
      ASSERT_EQ(ledger.owned, static_cast<int64_t>(owners.size()));
      for (const auto& [id, count] : owners) ASSERT_EQ(pool.num_owners(id), count);
    }
  }
}

TEST(PageLedger, UnbalancedIsSeen) {
  EXPECT_TRUE(
      (PageLedger{.free = 1, .owned = 2, .cached = 3, .pinned = 4, .total = 10}.balanced()));
  EXPECT_FALSE(
      (PageLedger{.free = 1, .owned = 2, .cached = 3, .pinned = 4, .total = 9}.balanced()));
}

}  // namespace
}  // namespace lserve
