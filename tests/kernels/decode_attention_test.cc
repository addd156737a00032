// Decode attention against float64 and against itself (P2), and the properties that need no
// tolerance (reliability P1, P3, P11, P13, P14, P17).
#include <gtest/gtest.h>

#include <algorithm>

#include "support/attention_runner.h"
#include "support/backends.h"
#include "support/compare.h"
#include "support/property.h"

namespace lserve::testing {
namespace {

class DecodeAttentionTest : public BackendTest {};

// Random tokens of each (sequence, head): all, or some.
TokenLists random_lists(const PagedKvFixture& kv, Random* random) {
  TokenLists lists = dense_lists(kv);
  for (auto& list : lists) {
    if (random->integer(0, 1) == 0) continue;
    const double keep = random->uniform(0.05, 1);
    const int32_t last = list.back();
    std::erase_if(list, [&](int32_t) { return random->uniform() > keep; });
    if (list.empty()) list.push_back(last);
  }
  return lists;
}

TEST_P(DecodeAttentionTest, MatchesFloat64) {
  for_each_case(test_cases(), [&](Random& random, int64_t) {
    const auto shape = random_shape(static_cast<int32_t>(random.integer(1, 2)), 150, &random);
    PagedKvFixture kv(shape, random_values(&random), random_values(&random), &random);
    const auto run = random_decode(kv, &random);
    const auto lists = random_lists(kv, &random);
    EXPECT_TRUE(decode_is_right(kv, run, lists, decode(&backend(), &kv, run, lists)));
  });
}

TEST_P(DecodeAttentionTest, MatchesFloat64AroundSplits) {
  for (const int32_t pages : {7, 8, 9, 15, 16, 17, 40}) {
    for (const int32_t extra : {-1, 0, 1}) {
      Random random(test_seed() + static_cast<uint64_t>(pages * 3 + extra));
      auto shape = random_shape(1, 1, &random);
      shape.kv_lens = {pages * kPageSize + extra};
      PagedKvFixture kv(shape, Values::kNormal, Values::kNormal, &random);
      const auto run = random_decode(kv, &random);
      const auto lists = dense_lists(kv);
      EXPECT_TRUE(decode_is_right(kv, run, lists, decode(&backend(), &kv, run, lists)));
    }
  }
}

// Lists of one split, of several, and of so many that a device merges them in two steps, in one
// call; and again, after calls of other lengths, to the bit: what a call counted leaves no trace.
TEST_P(DecodeAttentionTest, ListsOfAnyLengthInOneCallAndAgain) {
  constexpr int32_t kSplitTokens = kDecodeSplit * kPageSize;
  for (const KvFormat format : kKvFormats) {
    Random random(test_seed() + static_cast<uint64_t>(format));
    auto shape = random_shape(1, 1, &random);
    shape.format = format;
    shape.head_dim = 64;
    shape.num_heads = 1;
    shape.kv_lens = {1, kSplitTokens + 1, 70 * kSplitTokens + 3, 8 * kSplitTokens, 3};
    PagedKvFixture kv(shape, Values::kNormal, Values::kNormal, &random);
    auto run = random_decode(kv, &random);
    const TokenLists all = dense_lists(kv);
    const auto out = decode(&backend(), &kv, run, all);
    EXPECT_TRUE(decode_is_right(kv, run, all, out));
    for (const size_t longest : {size_t{1}, size_t{3}, size_t{0}}) {
      TokenLists some = all;
      for (auto& list : some) {
        if (list.size() > all[longest].size()) list.clear();
      }
      const auto again = decode(&backend(), &kv, run, some);
      for (int32_t seq = 0; seq < static_cast<int32_t>(all.size()); ++seq) {
        const auto at = static_cast<size_t>(decode_row(kv, run, seq, 0, 0) * shape.head_dim);
        const auto count = static_cast<size_t>(run.group * shape.head_dim);
        const auto row = std::span(again).subspan(at, count);
        if (some[static_cast<size_t>(seq)].empty()) {
          EXPECT_TRUE(std::all_of(row.begin(), row.end(), [](float x) { return std::isnan(x); }));
          continue;
        }
        EXPECT_TRUE(same_bits(row, std::span(out).subspan(at, count)));
      }
      EXPECT_TRUE(same_bits(decode(&backend(), &kv, run, all), out));
    }
  }
}

// P2: a GQA group of 1 is MHA. Four query heads that share a KV head give what they give where each
// has a copy of it. (Not for int8 and int4, whose copies would be quantised anew.)
TEST_P(DecodeAttentionTest, GqaGroupOfOneEqualsMha) {
  constexpr int32_t kGroup = 4;
  for_each_case(test_cases(), [&](Random& random, int64_t i) {
    auto shape = random_shape(2, 150, &random);
    shape.format = i % 2 == 0 ? KvFormat::kF32 : KvFormat::kBF16;
    PagedKvFixture kv(shape, Values::kNormal, Values::kNormal, &random);
    auto copied_shape = shape;
    copied_shape.num_heads = shape.num_heads * kGroup;
    auto copied = PagedKvFixture::empty(copied_shape, &random);
    auto run = random_decode(kv, &random);
    run.group = kGroup;
    const int64_t rows = int64_t{2} * copied_shape.num_heads;
    run.q = make(Values::kNormal, rows * shape.head_dim, shape.head_dim, &random);
    auto single = run;
    single.group = 1;
    for (int32_t seq = 0; seq < 2; ++seq) {
      for (int32_t h = 0; h < shape.num_heads; ++h) {
        for (int32_t g = 0; g < kGroup; ++g) {
          const int32_t copy = h * kGroup + kGroup - 1 - g;
          ASSERT_EQ(decode_row(copied, single, seq, copy, 0), decode_row(kv, run, seq, h, g));
          for (int32_t t = 0; t < shape.kv_lens[static_cast<size_t>(seq)]; ++t) {
            copied.set(seq, copy, t, kv.key(seq, h, t), kv.value(seq, h, t));
          }
        }
      }
    }
    const auto shared = decode(&backend(), &kv, run, dense_lists(kv));
    const std::vector<double> expected(shared.begin(), shared.end());
    const auto out = decode(&backend(), &copied, single, dense_lists(copied));
    EXPECT_TRUE(all_near(out, expected, 2e-5));
  });
}

// Query heads with lists of their own, as a selector for each head makes them: right, and where the
// lists are equal, the bits of the whole group.
TEST_P(DecodeAttentionTest, QueryHeadsMayReadListsOfTheirOwn) {
  for_each_case(test_cases(), [&](Random& random, int64_t) {
    const auto shape = random_shape(2, 150, &random);
    PagedKvFixture kv(shape, random_values(&random), random_values(&random), &random);
    const auto run = random_decode(kv, &random);
    const int32_t parts = run.group % 2 == 0 && random.integer(0, 1) == 0 ? 2 : run.group;
    TokenLists own;
    TokenLists same;
    for (int32_t part = 0; part < parts; ++part) {
      for (const auto& list : random_lists(kv, &random)) own.push_back(list);
    }
    const TokenLists dense = dense_lists(kv);
    for (const auto& list : dense) same.insert(same.end(), static_cast<size_t>(parts), list);
    // own holds lists in any order of heads: one for a shorter sequence must not name later tokens.
    for (size_t i = 0; i < own.size(); ++i) {
      const int32_t len = shape.kv_lens[i / static_cast<size_t>(shape.num_heads * parts)];
      std::erase_if(own[i], [len](int32_t t) { return t >= len; });
      if (own[i].empty()) own[i].push_back(len - 1);
    }
    EXPECT_TRUE(decode_is_right(kv, run, own, decode(&backend(), &kv, run, own)));
    EXPECT_TRUE(same_bits(decode(&backend(), &kv, run, same), decode(&backend(), &kv, run, dense)));
  });
}

// P11 and P14: neither where pages lie nor what lies in unused memory shows, bit for bit.
TEST_P(DecodeAttentionTest, PlaceAndGarbageDoNotShow) {
  for_each_case(test_cases(), [&](Random& random, int64_t i) {
    const auto shape = random_shape(2, 110, &random);
    PagedKvFixture kv(shape, random_values(&random), random_values(&random), &random);
    PagedKvFixture moved = kv.relocated(static_cast<Poison>(i % 3), &random);
    const auto run = random_decode(kv, &random);
    const auto lists = random_lists(kv, &random);
    EXPECT_TRUE(
        same_bits(decode(&backend(), &moved, run, lists), decode(&backend(), &kv, run, lists)));
  });
}

// P13 at the level of the operation: an item alone gives what it gives among others.
TEST_P(DecodeAttentionTest, MatesDoNotShow) {
  for_each_case(test_cases(), [&](Random& random, int64_t) {
    const auto shape = random_shape(3, 150, &random);
    PagedKvFixture kv(shape, random_values(&random), random_values(&random), &random);
    const auto run = random_decode(kv, &random);
    const auto lists = random_lists(kv, &random);
    const auto together = decode(&backend(), &kv, run, lists);
    const auto item =
        static_cast<size_t>(random.integer(0, static_cast<int64_t>(lists.size()) - 1));
    TokenLists only(lists.size());
    only[item] = lists[item];
    const auto alone = decode(&backend(), &kv, run, only);
    const auto seq = static_cast<int32_t>(item) / shape.num_heads;
    const auto head = static_cast<int32_t>(item) % shape.num_heads;
    const auto at = static_cast<size_t>(decode_row(kv, run, seq, head, 0) * shape.head_dim);
    const auto count = static_cast<size_t>(run.group * shape.head_dim);
    EXPECT_TRUE(
        same_bits(std::span(alone).subspan(at, count), std::span(together).subspan(at, count)));
  });
}

// P3: tokens outside sink and window may be NaN; at sink + local tokens and below, all are inside.
TEST_P(DecodeAttentionTest, StreamingSeesSinkAndWindowOnly) {
  for_each_case(test_cases(), [&](Random& random, int64_t i) {
    const TokenWindow window{.sink_tokens = static_cast<int32_t>(random.integer(1, 70)),
                             .local_tokens = static_cast<int32_t>(random.integer(1, 70))};
    const int32_t inside = window.sink_tokens + window.local_tokens;
    auto shape = random_shape(1, 1, &random);
    shape.kv_lens = {i % 4 < 3 ? inside + static_cast<int32_t>(i % 4) - 1
                               : static_cast<int32_t>(random.integer(1, 250))};
    PagedKvFixture kv(shape, random_values(&random), random_values(&random), &random);
    const auto run = random_decode(kv, &random);
    const int32_t len = shape.kv_lens[0];
    const auto tokens = visible_from(len - 1, window);
    const TokenLists lists(static_cast<size_t>(shape.num_heads), tokens);
    const auto before = decode(&backend(), &kv, run, lists);
    if (len <= inside) {
      EXPECT_TRUE(same_bits(before, decode(&backend(), &kv, run, dense_lists(kv))));
    }
    for (int32_t t = 0; t < len; ++t) {
      if (!std::binary_search(tokens.begin(), tokens.end(), t)) kv.poison_token(0, t);
    }
    EXPECT_TRUE(same_bits(decode(&backend(), &kv, run, lists), before));
    EXPECT_TRUE(decode_is_right(kv, run, lists, before));
  });
}

// P17: one token gives its value; equal values give that value.
TEST_P(DecodeAttentionTest, OneTokenAndConstantValues) {
  for_each_case(test_cases(), [&](Random& random, int64_t i) {
    auto shape = random_shape(1, 150, &random);
    if (i % 2 == 0) shape.kv_lens = {1};
    PagedKvFixture kv(shape, random_values(&random), Values::kNormal, &random);
    for (int32_t t = 1; t < shape.kv_lens[0]; ++t) {
      for (int32_t h = 0; h < shape.num_heads; ++h) {
        kv.set(0, h, t, kv.key(0, h, t), kv.value(0, h, 0));
      }
    }
    const auto run = random_decode(kv, &random);
    const auto out = decode(&backend(), &kv, run, dense_lists(kv));
    for (int32_t h = 0; h < shape.num_heads; ++h) {
      const auto value = kv.value(0, h, 0);
      const std::vector<double> expected(value.begin(), value.end());
      // Relative to the value, half a unit in the last place for every addition to either sum, and
      // for the steps after them. A single token has the largest weight, which is not rounded.
      const double by_sums = (2 * shape.kv_lens[0] + 8) * 0x1p-24;
      const double of_weights =
          decode_word_rounding(shape.format) * kPageSize + (is_cuda() ? 0x1p-17 : 0);
      const double by_weights = shape.kv_lens[0] == 1 ? 0 : of_weights;
      const double tolerance = (by_sums + by_weights) * kv.value_magnitude(0, h, 0) + 1e-37;
      for (int32_t g = 0; g < run.group; ++g) {
        const auto at = static_cast<size_t>(decode_row(kv, run, 0, h, g) * shape.head_dim);
        EXPECT_TRUE(all_near(std::span(out).subspan(at, value.size()), expected, tolerance));
      }
    }
  });
}

// P17: a constant added to every score changes nothing. Channel 0 of q is 8, so adding 4 to channel
// 0 of every key adds 32 to every score; all is exact in float32.
TEST_P(DecodeAttentionTest, ScoresMayShift) {
  for_each_case(test_cases(), [&](Random& random, int64_t) {
    auto shape = random_shape(1, 150, &random);
    shape.format = KvFormat::kF32;
    PagedKvFixture kv(shape, Values::kNormal, Values::kNormal, &random);
    auto run = random_decode(kv, &random);
    for (size_t i = 0; i < run.q.size(); ++i) {
      run.q[i] = i % static_cast<size_t>(shape.head_dim) == 0 ? 8.0F : 0.0F;
    }
    const auto before = decode(&backend(), &kv, run, dense_lists(kv));
    for (int32_t t = 0; t < shape.kv_lens[0]; ++t) {
      for (int32_t h = 0; h < shape.num_heads; ++h) {
        auto key = kv.key(0, h, t);
        key[0] += 4.0F;
        kv.set(0, h, t, key, kv.value(0, h, t));
      }
    }
    const auto after = decode(&backend(), &kv, run, dense_lists(kv));
    const std::vector<double> expected(before.begin(), before.end());
    EXPECT_TRUE(all_near(after, expected, 5e-5));
  });
}

INSTANTIATE_FOR_ALL_BACKENDS(DecodeAttentionTest);

}  // namespace
}  // namespace lserve::testing
