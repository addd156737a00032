// XXH3 as published: a change of the library must not change what files hold.
#include "base/hash.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace lserve {
namespace {

uint64_t hash_of(const std::string& text, uint64_t seed = 0) {
  return hash64(std::as_bytes(std::span(text)), seed);
}

TEST(Hash, PublishedValues) {
  EXPECT_EQ(hash_text(hash_of("")), "2d06800538d394c2");
  EXPECT_EQ(hash_text(hash_of("a")), "e6c632b61e964e1f");
  EXPECT_EQ(hash_text(0), "0000000000000000");
}

TEST(Hash, EveryByteLengthAndSeedCounts) {
  std::set<uint64_t> seen;
  size_t count = 0;
  for (const size_t length : {1, 16, 17, 128, 129, 240, 241, 1025, 4099}) {
    for (size_t at = 0; at < length; ++at) {
      std::string flipped(length, 'x');
      flipped[at] = 'X';
      seen.insert(hash_of(flipped));
    }
    seen.insert(hash_of(std::string(length, 'x')));
    seen.insert(hash_of(std::string(length, 'x'), 1));
    count += length + 2;
  }
  EXPECT_EQ(seen.size(), count);
}

}  // namespace
}  // namespace lserve
