// P11, P14, P16 and P17 over a layer's whole path: where pages lie, what they held before and what
// comes later do not show.
#include "properties/layer_cases.h"

namespace lserve::testing {
namespace {

class Memory : public LayerTest {};

// Other pages: the pool was used and its free list is in another order.
TEST_P(Memory, P11_OtherPagesGiveTheSameBits) {
  for_each_case(test_cases_on_backend(1000), [&](Random& random, int64_t) {
    const LayerShape shape = random_layer(random_mode(&random), &random);
    const int64_t prompt = selecting_len(shape, &random);
    const auto stream = random_stream(shape, prompt + 3, random_values(&random), &random);
    AttentionLayer first(&backend(), shape);
    AttentionLayer moved(&backend(), shape);
    for (uint64_t key = 10; key < 14; ++key) {
      moved.add(key, &stream);
      moved.prefill({{key, random.integer(1, 200)}}, /*attend=*/false);
    }
    for (const uint64_t key : {uint64_t{12}, uint64_t{10}, uint64_t{13}}) moved.remove(key);
    for (AttentionLayer* layer : {&first, &moved}) {
      layer->add(1, &stream);
      decode_after(layer, 1, prompt, 3);
    }
    EXPECT_TRUE(same_bits(moved.out(1), first.out(1)));
    for (const HeadClass c : {HeadClass::kRetrieval, HeadClass::kStreaming}) {
      EXPECT_EQ(moved.contents(1, c), first.contents(1, c));
    }
  });
}

TEST_P(Memory, P14_WhatPagesHeldBeforeDoesNotShow) {
  for_each_case(test_cases_on_backend(1000), [&](Random& random, int64_t i) {
    const LayerShape shape = random_layer(random_mode(&random), &random);
    const bool decodes = i % 2 == 0;
    const int64_t tokens = decodes ? selecting_len(shape, &random) : random.integer(1, 120);
    const auto stream = random_stream(shape, tokens + 3, random_values(&random), &random);
    AttentionLayer clean(&backend(), shape);
    AttentionLayer poisoned(&backend(), shape);
    poisoned.fill_memory(std::array{0xFF, 0x7F, 0x80}[static_cast<size_t>(i % 3)]);
    for (AttentionLayer* layer : {&clean, &poisoned}) {
      layer->add(1, &stream);
      if (decodes) {
        decode_after(layer, 1, tokens, 3);
      } else {
        layer->prefill({{1, tokens}});
      }
    }
    EXPECT_FALSE(has_nan(clean.out(1)));
    EXPECT_TRUE(same_bits(poisoned.out(1), clean.out(1)));
  });
}

// Statistics after any appends, by chunks and by decode steps, are those of one chunk on a fresh
// pool; so are codes and scales.
TEST_P(Memory, P16_StatisticsDependOnTheTokensAlone) {
  for_each_case(test_cases_on_backend(1000), [&](Random& random, int64_t) {
    LayerShape shape = random_layer(AttentionMode::kPages, &random);
    shape.attention.page_score = PageScore::kMinMax;
    const int64_t tokens = random.integer(1, 200);
    const auto stream = random_stream(shape, tokens, random_values(&random), &random);
    AttentionLayer at_once(&backend(), shape);
    at_once.add(1, &stream);
    at_once.prefill({{1, tokens}}, /*attend=*/false);
    AttentionLayer appended(&backend(), shape);
    appended.fill_memory(0xFF);
    appended.add(1, &stream);
    for (const int64_t chunk : random_chunks(tokens, &random)) {
      if (chunk == 1) {
        appended.decode({1});
      } else {
        appended.prefill({{1, chunk}}, /*attend=*/false);
      }
    }
    EXPECT_EQ(appended.contents(1, HeadClass::kRetrieval),
              at_once.contents(1, HeadClass::kRetrieval));
  });
}

// Causality over chunks: other tokens after a position leave what came before as it was.
TEST_P(Memory, P17_LaterTokensDoNotShow) {
  for_each_case(test_cases_on_backend(1000), [&](Random& random, int64_t) {
    const LayerShape shape = random_layer(random_mode(&random), &random);
    const int64_t tokens = random.integer(2, 120);
    const int64_t kept = random.integer(1, tokens - 1);
    auto stream = random_stream(shape, tokens, random_values(&random), &random);
    const auto run = [&] {
      AttentionLayer layer(&backend(), shape);
      layer.add(1, &stream);
      layer.prefill({{1, tokens}});
      auto out = layer.out(1);
      out.resize(static_cast<size_t>(kept * shape.q_width()));
      return out;
    };
    const auto before = run();
    std::fill(stream.k.begin() + kept * shape.kv_width(), stream.k.end(), std::nanf(""));
    std::fill(stream.v.begin() + kept * shape.kv_width(), stream.v.end(), std::nanf(""));
    EXPECT_FALSE(has_nan(before));
    EXPECT_TRUE(same_bits(run(), before));
  });
}

// In prefill: the first token gives its value, and equal values give that value.
TEST_P(Memory, P17_ConstantValuesGiveThatValue) {
  for_each_case(test_cases_on_backend(1000), [&](Random& random, int64_t) {
    LayerShape shape = random_layer(random_mode(&random), &random);
    shape.format = random.integer(0, 1) == 0 ? KvFormat::kF32 : KvFormat::kBF16;
    const int64_t tokens = random.integer(1, 100);
    auto stream = random_stream(shape, tokens, random_values(&random), &random);
    const auto first = make(Values::kNormal, shape.kv_width(), shape.head_dim, &random);
    for (int64_t t = 0; t < tokens; ++t) {
      std::copy(first.begin(), first.end(), stream.v.begin() + t * shape.kv_width());
    }
    AttentionLayer layer(&backend(), shape);
    layer.add(1, &stream);
    layer.prefill({{1, tokens}});
    std::vector<double> expected;
    for (int64_t h = 0; h < tokens * shape.num_q_heads(); ++h) {
      const int64_t kv_head = h % shape.num_q_heads() / shape.group;
      for (int64_t c = 0; c < shape.head_dim; ++c) {
        const float value = first[static_cast<size_t>(kv_head * shape.head_dim + c)];
        const bool rounded = shape.format == KvFormat::kBF16;
        expected.push_back(rounded ? to_float(to_bf16(value)) : value);
      }
    }
    EXPECT_TRUE(all_near(layer.out(1), expected, 2e-5));
  });
}

INSTANTIATE_FOR_ALL_BACKENDS(Memory);

}  // namespace
}  // namespace lserve::testing
