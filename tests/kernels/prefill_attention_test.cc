// Prefill attention against float64, and the properties that need no tolerance (reliability P3,
// P11, P14, P17, and independence of how queries are cut into blocks).
#include <gtest/gtest.h>

#include <algorithm>

#include "support/attention_runner.h"
#include "support/backends.h"
#include "support/compare.h"
#include "support/property.h"

namespace lserve::testing {
namespace {

class PrefillAttentionTest : public BackendTest {};

PagedKvFixture random_sequence(int32_t max_len, Random* random) {
  return PagedKvFixture(random_shape(1, max_len, random), random_values(random),
                        random_values(random), random);
}

TEST_P(PrefillAttentionTest, MatchesFloat64) {
  for_each_case(test_cases(is_reference() ? 200 : 1000), [&](Random& random, int64_t i) {
    PagedKvFixture kv = random_sequence(i % 16 == 0 ? 200 : 40, &random);
    const auto run = random_prefill(kv, &random);
    EXPECT_TRUE(prefill_is_right(kv, run, prefill(&backend(), &kv, run, kMaxQueryBlock),
                                 prefill_rounding(kv.shape().format)));
  });
}

// A row does not notice which other rows are in its block, bit for bit.
TEST_P(PrefillAttentionTest, BlockingDoesNotShow) {
  for_each_case(test_cases(is_reference() ? 200 : 1000), [&](Random& random, int64_t) {
    PagedKvFixture kv = random_sequence(110, &random);
    const auto run = random_prefill(kv, &random);
    const auto whole = prefill(&backend(), &kv, run, kMaxQueryBlock);
    const auto size = static_cast<int32_t>(random.integer(1, kMaxQueryBlock));
    EXPECT_TRUE(same_bits(prefill(&backend(), &kv, run, size), whole)) << "blocks of " << size;
  });
}

// The same, for a chunk that begins anywhere: rows first .. of a run that starts earlier.
TEST_P(PrefillAttentionTest, ChunkingDoesNotShow) {
  for_each_case(test_cases(is_reference() ? 200 : 1000), [&](Random& random, int64_t) {
    PagedKvFixture kv = random_sequence(110, &random);
    const auto run = random_prefill(kv, &random);
    const auto whole = prefill(&backend(), &kv, run, kMaxQueryBlock);
    PrefillRun rest = run;
    rest.first = static_cast<int32_t>(random.integer(run.first, kv.shape().kv_lens[0] - 1));
    const int64_t row = int64_t{kv.shape().num_heads} * run.group * kv.shape().head_dim;
    const int64_t skipped = (rest.first - run.first) * row;
    rest.q.erase(rest.q.begin(), rest.q.begin() + skipped);
    EXPECT_TRUE(same_bits(prefill(&backend(), &kv, rest, kMaxQueryBlock),
                          std::span(whole).subspan(static_cast<size_t>(skipped))));
  });
}

TEST_P(PrefillAttentionTest, PlaceAndGarbageDoNotShow) {
  for_each_case(test_cases(is_reference() ? 200 : 1000), [&](Random& random, int64_t i) {
    PagedKvFixture kv = random_sequence(110, &random);
    PagedKvFixture moved = kv.relocated(static_cast<Poison>(i % 3), &random);
    const auto run = random_prefill(kv, &random);
    EXPECT_TRUE(same_bits(prefill(&backend(), &moved, run, kMaxQueryBlock),
                          prefill(&backend(), &kv, run, kMaxQueryBlock)));
  });
}

// P17: what comes after a position does not reach it, though it is in the same block.
TEST_P(PrefillAttentionTest, LaterTokensDoNotShow) {
  for_each_case(test_cases(is_reference() ? 200 : 1000), [&](Random& random, int64_t) {
    PagedKvFixture kv = random_sequence(110, &random);
    const auto run = random_prefill(kv, &random);
    const auto before = prefill(&backend(), &kv, run, kMaxQueryBlock);
    const int32_t len = kv.shape().kv_lens[0];
    const auto last = static_cast<int32_t>(random.integer(run.first, len - 1));
    for (int32_t t = last + 1; t < len; ++t) kv.poison_token(0, t);
    const auto after = prefill(&backend(), &kv, run, kMaxQueryBlock);
    const auto count = static_cast<size_t>((last + 1 - run.first) * kv.shape().num_heads *
                                           run.group * kv.shape().head_dim);
    EXPECT_TRUE(same_bits(std::span(after).first(count), std::span(before).first(count)));
  });
}

// P3: keys that a streaming row does not see may be NaN, even where its neighbours see them.
TEST_P(PrefillAttentionTest, StreamingRowSeesSinkAndWindowOnly) {
  for_each_case(test_cases(is_reference() ? 200 : 1000), [&](Random& random, int64_t) {
    PagedKvFixture kv = random_sequence(150, &random);
    auto run = random_prefill(kv, &random);
    const TokenWindow window{.sink_tokens = static_cast<int32_t>(random.integer(0, 70)),
                             .local_tokens = static_cast<int32_t>(random.integer(1, 70))};
    std::fill(run.windows.begin(), run.windows.end(), window);
    const auto before = prefill(&backend(), &kv, run, kMaxQueryBlock);
    const auto row = static_cast<int32_t>(random.integer(run.first, kv.shape().kv_lens[0] - 1));
    const auto tokens = visible_from(row, window);
    for (int32_t t = 0; t < kv.shape().kv_lens[0]; ++t) {
      if (!std::binary_search(tokens.begin(), tokens.end(), t)) kv.poison_token(0, t);
    }
    const auto after = prefill(&backend(), &kv, run, kMaxQueryBlock);
    const auto count = static_cast<size_t>(kv.shape().num_heads * run.group * kv.shape().head_dim);
    const size_t at = static_cast<size_t>(row - run.first) * count;
    EXPECT_TRUE(
        same_bits(std::span(after).subspan(at, count), std::span(before).subspan(at, count)));
  });
}

// A window that reaches everything is dense, bit for bit.
TEST_P(PrefillAttentionTest, WideWindowIsDense) {
  for_each_case(test_cases(is_reference() ? 200 : 1000), [&](Random& random, int64_t) {
    PagedKvFixture kv = random_sequence(110, &random);
    auto run = random_prefill(kv, &random);
    const int32_t len = kv.shape().kv_lens[0];
    const auto sink = static_cast<int32_t>(random.integer(0, len));
    std::fill(run.windows.begin(), run.windows.end(), TokenWindow{});
    const auto dense = prefill(&backend(), &kv, run, kMaxQueryBlock);
    std::fill(run.windows.begin(), run.windows.end(), TokenWindow{sink, len - sink + 1});
    EXPECT_TRUE(same_bits(prefill(&backend(), &kv, run, kMaxQueryBlock), dense));
  });
}

// More work than a device has places for at once: whoever takes one part after the other must leave
// nothing behind. A run of the last tokens alone has few parts.
TEST_P(PrefillAttentionTest, MuchWorkAtOnce) {
  Random random(test_seed());
  for (const KvFormat format : {KvFormat::kBF16, KvFormat::kInt8}) {
    for (const int32_t head_dim : {64, 128}) {
      PagedKvShape shape;
      shape.format = format;
      shape.head_dim = head_dim;
      shape.num_heads = 3;
      shape.kv_lens = {is_reference() ? 140 : 700};
      PagedKvFixture kv(shape, Values::kNormal, Values::kNormal, &random);
      auto run = random_prefill(kv, &random);
      run.group = 16;
      run.first = 0;
      run.windows = {{}, {.sink_tokens = 70, .local_tokens = 130}, {}};
      const int64_t row = int64_t{shape.num_heads} * run.group * head_dim;
      run.q = make(Values::kNormal, shape.kv_lens[0] * row, head_dim, &random);
      const auto whole = prefill(&backend(), &kv, run, kMaxQueryBlock);
      EXPECT_TRUE(prefill_is_right(kv, run, whole, prefill_rounding(format), 29));
      PrefillRun rest = run;
      rest.first = shape.kv_lens[0] - 100;
      rest.q.erase(rest.q.begin(), rest.q.begin() + rest.first * row);
      EXPECT_TRUE(same_bits(prefill(&backend(), &kv, rest, kMaxQueryBlock),
                            std::span(whole).subspan(static_cast<size_t>(rest.first * row))));
    }
  }
}

INSTANTIATE_FOR_ALL_BACKENDS(PrefillAttentionTest);

}  // namespace
}  // namespace lserve::testing
