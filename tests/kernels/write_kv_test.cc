// write_kv against the fixture, which stores and counts on its own: codes, scales and statistics
// bit for bit, and nothing else touched (reliability P14, P16).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "support/backends.h"
#include "support/compare.h"
#include "support/paged_kv_fixture.h"
#include "support/property.h"

namespace lserve::testing {
namespace {

class WriteKvTest : public BackendTest {};

// Tokens of a step: (sequence, position), ascending within a sequence. A negative sequence: a row
// that is no token, and holds NaN.
struct Token {
  int32_t seq;
  int32_t position;
};

// The fixture's tokens in a random order of appends, cut into random steps.
std::vector<std::vector<Token>> random_steps(const PagedKvShape& shape, Random* random) {
  std::vector<std::vector<Token>> steps;
  std::vector<int32_t> next(shape.kv_lens.size(), 0);
  const auto remaining = [&] {
    int32_t sum = 0;
    for (size_t i = 0; i < next.size(); ++i) sum += shape.kv_lens[i] - next[i];
    return sum;
  };
  while (remaining() > 0) {
    std::vector<Token> step;
    for (size_t i = 0; i < next.size(); ++i) {
      const int32_t left = shape.kv_lens[i] - next[i];
      const auto longest = random->integer(0, 2) == 0 ? left : std::min(left, 3);
      for (auto n = random->integer(0, longest); n > 0; --n) {
        step.push_back({static_cast<int32_t>(i), next[i]++});
      }
    }
    if (!step.empty()) steps.push_back(step);
  }
  return steps;
}

// Vectors of the model's KV heads; the pool's head h is the model's head heads[h].
struct Source {
  int64_t num_kv_heads;
  std::vector<int32_t> heads;
  std::vector<std::vector<float>> k;  // [sequence] [kv_len, num_kv_heads, head_dim]
  std::vector<std::vector<float>> v;
};

Source random_source(const PagedKvShape& shape, Random* random) {
  Source source;
  source.num_kv_heads = shape.num_heads + random->integer(0, 2);
  std::vector<int32_t> all(static_cast<size_t>(source.num_kv_heads));
  std::iota(all.begin(), all.end(), 0);
  while (static_cast<int32_t>(all.size()) > shape.num_heads) {
    all.erase(all.begin() + random->integer(0, static_cast<int64_t>(all.size()) - 1));
  }
  source.heads = all;
  for (const int32_t len : shape.kv_lens) {
    const int64_t count = len * source.num_kv_heads * shape.head_dim;
    source.k.push_back(make(random_values(random), count, shape.head_dim, random));
    source.v.push_back(make(random_values(random), count, shape.head_dim, random));
  }
  return source;
}

std::vector<float> row(const std::vector<float>& x, const Source& source, int32_t token,
                       int64_t kv_head, int64_t head_dim) {
  const auto begin = x.begin() + (token * source.num_kv_heads + kv_head) * head_dim;
  return {begin, begin + head_dim};
}

void write(Backend* backend, PagedKvFixture* kv, const Source& source,
           const std::vector<Token>& tokens, bool with_stats = true) {
  const int64_t head_dim = kv->shape().head_dim;
  std::vector<float> k;
  std::vector<float> v;
  std::vector<int64_t> slots;
  for (const Token& t : tokens) {
    if (t.seq < 0) {
      const float nan = std::numeric_limits<float>::quiet_NaN();
      k.resize(k.size() + static_cast<size_t>(source.num_kv_heads * head_dim), nan);
      v.resize(k.size(), nan);
      slots.push_back(kNoSlot);
      continue;
    }
    const auto seq = static_cast<size_t>(t.seq);
    for (int64_t h = 0; h < source.num_kv_heads; ++h) {
      const auto key = row(source.k[seq], source, t.position, h, head_dim);
      const auto value = row(source.v[seq], source, t.position, h, head_dim);
      k.insert(k.end(), key.begin(), key.end());
      v.insert(v.end(), value.begin(), value.end());
    }
    slots.push_back(kv->slot(t.seq, t.position));
  }
  PagedKvView view = kv->view();
  if (!with_stats) view.key_stats = nullptr;
  const Shape dims{static_cast<int64_t>(tokens.size()), source.num_kv_heads, head_dim};
  backend->write_kv({.k = TensorView(k.data(), dims),
                     .v = TensorView(v.data(), dims),
                     .kv = view,
                     .kv_heads = source.heads,
                     .slots = slots});
  backend->synchronize();
}

void set_all(PagedKvFixture* kv, const Source& source) {
  const PagedKvShape& shape = kv->shape();
  for (size_t seq = 0; seq < shape.kv_lens.size(); ++seq) {
    for (int32_t t = 0; t < shape.kv_lens[seq]; ++t) {
      for (int32_t h = 0; h < shape.num_heads; ++h) {
        const int32_t kv_head = source.heads[static_cast<size_t>(h)];
        kv->set(static_cast<int32_t>(seq), h, t,
                row(source.k[seq], source, t, kv_head, shape.head_dim),
                row(source.v[seq], source, t, kv_head, shape.head_dim));
      }
    }
  }
}

// Equal as numbers (either zero will do), or both the untouched poison; codes byte for byte.
bool same_stats(KeyStatsFormat format, const std::vector<bf16>& a, const std::vector<bf16>& b) {
  const bool numbers = format == KeyStatsFormat::kBF16;
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](bf16 x, bf16 y) {
    return x.bits == y.bits || (numbers && to_float(x) == to_float(y));
  });
}

TEST_P(WriteKvTest, AnyAppendSequenceGivesTheSamePages) {
  for_each_case(test_cases(), [&](Random& random, int64_t) {
    const auto shape = with_any_stats(
        random_shape(static_cast<int32_t>(random.integer(1, 3)), 80, &random), &random);
    const Source source = random_source(shape, &random);
    PagedKvFixture expected = PagedKvFixture::empty(shape, &random);
    PagedKvFixture actual = expected;
    set_all(&expected, source);
    expected.recompute_stats();
    for (const auto& step : random_steps(shape, &random)) write(&backend(), &actual, source, step);
    EXPECT_EQ(actual.tiles(), expected.tiles()) << kv_format_name(shape.format);
    EXPECT_TRUE(same_stats(shape.stats_format, actual.stats(), expected.stats()));
  });
}

// Rows before, between and behind the sequences of a step, and steps of nothing else. One comes
// just before slot 0, which as a number follows kNoSlot.
TEST_P(WriteKvTest, RowsWithoutASlotLeaveNoTrace) {
  for_each_case(test_cases(), [&](Random& random, int64_t i) {
    const auto shape = with_any_stats(
        random_shape(static_cast<int32_t>(random.integer(1, 3)), 80, &random), &random);
    const Source source = random_source(shape, &random);
    PagedKvFixture expected = PagedKvFixture::empty(shape, &random);
    PagedKvFixture actual = expected;
    const bool with_stats = i % 3 != 0;
    for (const auto& step : random_steps(shape, &random)) {
      std::vector<Token> padded;
      const auto pad = [&](bool always) {
        for (auto n = random.integer(always ? 1 : 0, 2); n > 0; --n) padded.push_back({-1, 0});
      };
      for (size_t t = 0; t < step.size(); ++t) {
        const bool begins = t == 0 || step[t].seq != step[t - 1].seq;
        if (begins) pad(expected.slot(step[t].seq, step[t].position) == 0);
        padded.push_back(step[t]);
      }
      pad(true);
      write(&backend(), &expected, source, step, with_stats);
      write(&backend(), &actual, source, padded, with_stats);
    }
    write(&backend(), &actual, source, {{-1, 0}, {-1, 0}}, with_stats);
    EXPECT_EQ(actual.tiles(), expected.tiles()) << kv_format_name(shape.format);
    EXPECT_EQ(std::memcmp(actual.stats().data(), expected.stats().data(),
                          expected.stats().size() * sizeof(bf16)),
              0);
  });
}

// Pages that had another owner: whatever the statistics held, they begin anew.
TEST_P(WriteKvTest, RecycledPagesBeginAnew) {
  for_each_case(test_cases(), [&](Random& random, int64_t i) {
    const auto shape = with_any_stats(random_shape(1, 80, &random), &random);
    const Source source = random_source(shape, &random);
    PagedKvFixture clean = PagedKvFixture::empty(shape, &random);
    PagedKvFixture used = clean;
    for (bf16& x : used.stats()) {
      x = to_bf16(i % 2 == 0 ? static_cast<float>(random.normal() * 1e6)
                             : std::numeric_limits<float>::infinity());
    }
    for (const auto& step : random_steps(shape, &random)) {
      write(&backend(), &clean, source, step);
      write(&backend(), &used, source, step);
    }
    // Only what belongs to logical pages with tokens; the rest is still each one's own garbage.
    const PagedKvView a = clean.view();
    const PagedKvView b = used.view();
    const auto expect_same = [&](const bf16* x, const bf16* y, int64_t count) {
      for (int64_t c = 0; c < count; ++c) ASSERT_EQ(to_float(x[c]), to_float(y[c]));
    };
    for (int32_t t = 0; t < shape.kv_lens[0]; t += shape.logical_page_size) {
      for (int32_t h = 0; h < shape.num_heads; ++h) {
        const int64_t page = clean.slot(0, t) / kPageSize;
        const int64_t logical = t % kPageSize / shape.logical_page_size;
        if (shape.stats_format == KeyStatsFormat::kInt8) {
          ASSERT_EQ(std::memcmp(a.bound_codes(page, h, logical), b.bound_codes(page, h, logical),
                                static_cast<size_t>(2 * shape.head_dim + shape.head_dim / 8)),
                    0);
        } else if (shape.page_score == PageScore::kMinMax) {
          expect_same(a.key_min(page, h, logical), b.key_min(page, h, logical), 2 * shape.head_dim);
        } else {
          expect_same(a.key_mean(page, h, logical), b.key_mean(page, h, logical), shape.head_dim);
          expect_same(a.key_spread(page, h, logical), b.key_spread(page, h, logical), 1);
        }
      }
    }
  });
}

// Minimum rounded down and maximum up: the key that attention reads lies between them.
TEST_P(WriteKvTest, StatisticsEncloseTheStoredKey) {
  for_each_case(test_cases(), [&](Random& random, int64_t) {
    const auto shape = with_any_bounds(random_shape(1, 40, &random), &random);
    const Source source = random_source(shape, &random);
    PagedKvFixture kv = PagedKvFixture::empty(shape, &random);
    for (const auto& step : random_steps(shape, &random)) write(&backend(), &kv, source, step);
    for (int32_t t = 0; t < shape.kv_lens[0]; ++t) {
      for (int32_t h = 0; h < shape.num_heads; ++h) {
        const auto key = kv.key(0, h, t);
        for (int32_t c = 0; c < shape.head_dim; ++c) {
          const auto bounds =
              kv.bounds(kv.slot(0, t) / kPageSize, h, t % kPageSize / shape.logical_page_size, c);
          ASSERT_LE(bounds.min, key[static_cast<size_t>(c)]);
          ASSERT_GE(bounds.max, key[static_cast<size_t>(c)]);
        }
      }
    }
  });
}

// Of what is no number a bound in 8 bits takes no notice, and of an infinite key it has none: the
// channels that share its unit are unbounded.
TEST_P(WriteKvTest, CodesOfNaNAndInfinity) {
  for (const float fault :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    Random random(test_seed());
    PagedKvShape shape{.format = KvFormat::kBF16, .kv_lens = {20}};
    shape.stats_format = KeyStatsFormat::kInt8;
    Source source = random_source(shape, &random);
    constexpr int32_t kFaulty = 19;  // channel; of all tokens of the second logical page
    for (size_t t = 16; t < 20; ++t) {
      for (size_t h = 0; h < static_cast<size_t>(source.num_kv_heads); ++h) {
        source.k[0][(t * static_cast<size_t>(source.num_kv_heads) + h) * 64 + kFaulty] = fault;
      }
    }
    PagedKvFixture actual = PagedKvFixture::empty(shape, &random);
    PagedKvFixture expected = actual;
    set_all(&expected, source);
    expected.recompute_stats();
    for (const auto& step : random_steps(shape, &random)) write(&backend(), &actual, source, step);
    EXPECT_TRUE(same_stats(shape.stats_format, actual.stats(), expected.stats())) << fault;
    const auto bounds = actual.bounds(actual.slot(0, 16) / kPageSize, 0, 1, kFaulty);
    EXPECT_EQ(bounds.max, std::isnan(fault) ? 0 : std::abs(fault));
    EXPECT_EQ(bounds.min, std::isnan(fault) ? 0 : -std::abs(fault));
  }
}

// The mean and the root mean square distance from it, in float64, up to their rounding to bf16.
TEST_P(WriteKvTest, MeanAndSpreadAreOfTheStoredKeys) {
  for_each_case(test_cases(300), [&](Random& random, int64_t) {
    auto shape = random_shape(1, 80, &random);
    shape.page_score = PageScore::kMeanStd;
    Source source = random_source(shape, &random);
    for (auto& k : source.k) fill(Values::kNormal, shape.head_dim, &random, k);
    PagedKvFixture kv = PagedKvFixture::empty(shape, &random);
    for (const auto& step : random_steps(shape, &random)) write(&backend(), &kv, source, step);
    const PagedKvView view = kv.view();
    for (int32_t first = 0; first < shape.kv_lens[0]; first += shape.logical_page_size) {
      const int32_t end = std::min(shape.kv_lens[0], first + shape.logical_page_size);
      const int64_t page = kv.slot(0, first) / kPageSize;
      const int64_t logical = first % kPageSize / shape.logical_page_size;
      const double count = end - first;
      double squares = 0;
      for (int32_t c = 0; c < shape.head_dim; ++c) {
        double sum = 0;
        for (int32_t t = first; t < end; ++t) sum += kv.key(0, 0, t)[static_cast<size_t>(c)];
        const double mean = sum / count;
        const float stored = to_float(view.key_mean(page, 0, logical)[c]);
        ASSERT_NEAR(stored, mean, 0x1.01p-8 * std::abs(mean) + 1e-6);
        for (int32_t t = first; t < end; ++t) {
          const double distance = kv.key(0, 0, t)[static_cast<size_t>(c)] - stored;
          squares += distance * distance;
        }
      }
      const double spread = std::sqrt(squares / count);
      ASSERT_NEAR(to_float(*view.key_spread(page, 0, logical)), spread, 0x1.01p-8 * spread + 1e-6);
    }
  });
}

TEST_P(WriteKvTest, WithoutStatistics) {
  Random random(test_seed());
  PagedKvShape shape = random_shape(1, 1, &random);
  shape.kv_lens = {70};
  const Source source = random_source(shape, &random);
  PagedKvFixture kv = PagedKvFixture::empty(shape, &random);
  const auto before = kv.stats();
  std::vector<Token> tokens;
  for (int32_t t = 0; t < 70; ++t) tokens.push_back({0, t});
  write(&backend(), &kv, source, tokens, false);
  EXPECT_EQ(std::memcmp(kv.stats().data(), before.data(), before.size() * sizeof(bf16)), 0);
  EXPECT_FALSE(std::isnan(kv.key(0, 0, 69)[0]));
}

// A fault upstream is stored as it is: NaN reads back as NaN, and its neighbours are untouched.
TEST_P(WriteKvTest, NaNReadsBackAsNaN) {
  for (const KvFormat format : kKvFormats) {
    Random random(test_seed());
    PagedKvShape shape{.format = format, .kv_lens = {3}};
    Source source = random_source(shape, &random);
    for (float& x : source.k[0]) x = 1;
    const auto nan_at = static_cast<size_t>(source.num_kv_heads * 64);  // token 1, every head
    for (size_t c = nan_at; c < 2 * nan_at; ++c) {
      source.k[0][c] = std::numeric_limits<float>::quiet_NaN();
    }
    PagedKvFixture kv = PagedKvFixture::empty(shape, &random);
    write(&backend(), &kv, source, {{0, 0}, {0, 1}, {0, 2}});
    EXPECT_EQ(kv.key(0, 0, 0)[7], 1.0F);
    EXPECT_TRUE(std::isnan(kv.key(0, 0, 1)[7]));
    EXPECT_EQ(kv.key(0, 0, 2)[7], 1.0F);
  }
}

INSTANTIATE_FOR_ALL_BACKENDS(WriteKvTest);

}  // namespace
}  // namespace lserve::testing
