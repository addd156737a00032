// rope_write_kv against rope and write_kv one after the other, bit for bit: q, and the pages and
// statistics of every pool.
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <numeric>

#include "support/backends.h"
#include "support/compare.h"
#include "support/paged_kv_fixture.h"
#include "support/property.h"

namespace lserve::testing {
namespace {

class RopeWriteKvTest : public BackendTest {};

// What a layer's attention has between its projections and its pages.
struct Layer {
  int64_t num_kv_heads = 0;
  int64_t num_q_heads = 0;
  int64_t num_tokens = 0;
  int64_t head_dim = 0;
  std::vector<float> q, k, v;                  // [num_tokens, heads, head_dim]
  std::vector<float> cos_sin;                  // [num_tokens, 2, head_dim / 2]
  std::vector<PagedKvFixture> pools;           // one or two
  std::vector<std::vector<int32_t>> kv_heads;  // of each pool
  std::vector<std::vector<int64_t>> slots;     // of each pool

  RopeParams rope() {
    return {TensorView(q.data(), {num_tokens, num_q_heads, head_dim}),
            TensorView(k.data(), {num_tokens, num_kv_heads, head_dim}),
            TensorView(cos_sin.data(), {num_tokens, 2, head_dim / 2})};
  }
  std::vector<WriteKvParams> writes() {
    std::vector<WriteKvParams> params;
    for (size_t i = 0; i < pools.size(); ++i) {
      params.push_back({.k = rope().k,
                        .v = TensorView(v.data(), {num_tokens, num_kv_heads, head_dim}),
                        .kv = pools[i].view(),
                        .kv_heads = kv_heads[i],
                        .slots = slots[i]});
    }
    return params;
  }
};

// Heads 0 .. of the model go to one of the pools each, a pool without heads does not exist. The
// tokens are the last of each sequence: as many as a decode step or a chunk adds. The last rows may
// be no tokens.
Layer random_layer(Random* random) {
  PagedKvShape shape = with_any_stats(
      random_shape(static_cast<int32_t>(random->integer(1, 3)), 150, random), random);
  Layer layer;
  layer.head_dim = shape.head_dim;
  layer.num_kv_heads = random->integer(1, 5);
  layer.num_q_heads = layer.num_kv_heads * random->integer(1, 4);
  std::vector<std::vector<int32_t>> heads(2);
  for (int32_t h = 0; h < layer.num_kv_heads; ++h) {
    heads[static_cast<size_t>(random->integer(0, 1))].push_back(h);
  }
  std::vector<int32_t> added;
  for (const int32_t len : shape.kv_lens) {
    added.push_back(static_cast<int32_t>(random->integer(1, random->integer(0, 1) == 0 ? 1 : len)));
  }
  const int64_t padding = random->integer(0, 2);
  layer.num_tokens = std::accumulate(added.begin(), added.end(), padding);
  for (const auto& list : heads) {
    if (list.empty()) continue;
    shape.num_heads = static_cast<int32_t>(list.size());
    layer.kv_heads.push_back(list);
    layer.pools.emplace_back(shape, random_values(random), random_values(random), random);
    std::vector<int64_t> slots;
    for (size_t s = 0; s < added.size(); ++s) {
      for (int32_t t = shape.kv_lens[s] - added[s]; t < shape.kv_lens[s]; ++t) {
        slots.push_back(layer.pools.back().slot(static_cast<int32_t>(s), t));
      }
    }
    slots.resize(static_cast<size_t>(layer.num_tokens), kNoSlot);
    layer.slots.push_back(slots);
  }
  const auto values = [&](int64_t heads_of) {
    return make(random_values(random), layer.num_tokens * heads_of * shape.head_dim, shape.head_dim,
                random);
  };
  layer.q = values(layer.num_q_heads);
  layer.k = values(layer.num_kv_heads);
  layer.v = values(layer.num_kv_heads);
  for (int64_t t = 0; t < layer.num_tokens; ++t) {
    for (const double quarter : {0.0, std::numbers::pi / 2}) {
      for (int64_t c = 0; c < shape.head_dim / 2; ++c) {
        const double angle = 1e5 * std::pow(0.8, static_cast<double>(c)) + static_cast<double>(t);
        layer.cos_sin.push_back(static_cast<float>(std::cos(angle - quarter)));
      }
    }
  }
  return layer;
}

TEST_P(RopeWriteKvTest, EqualsRopeAndThenWriteKv) {
  for_each_case(test_cases(), [&](Random& random, int64_t) {
    Layer apart = random_layer(&random);
    Layer together = apart;
    backend().rope(apart.rope());
    for (const WriteKvParams& write : apart.writes()) backend().write_kv(write);
    const auto writes = together.writes();
    backend().rope_write_kv({together.rope(), writes});
    backend().synchronize();
    EXPECT_TRUE(same_bits(together.q, apart.q));
    for (size_t i = 0; i < apart.pools.size(); ++i) {
      EXPECT_EQ(together.pools[i].tiles(), apart.pools[i].tiles());
      const auto& a = together.pools[i].stats();
      const auto& b = apart.pools[i].stats();
      EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin(), b.end(),
                             [](bf16 x, bf16 y) { return x.bits == y.bits; }));
    }
  });
}

INSTANTIATE_FOR_ALL_BACKENDS(RopeWriteKvTest);

}  // namespace
}  // namespace lserve::testing
