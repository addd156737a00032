// Settings that must come to the same bits: P1, P2, P3 and P10 over a layer's whole path.
#include "properties/layer_cases.h"
#include "support/attention_oracle.h"

namespace lserve::testing {
namespace {

class Equivalence : public LayerTest {
 protected:
  std::vector<float> decode_of(const LayerShape& shape, const TokenStream& stream, int64_t prompt,
                               int64_t steps) const {
    AttentionLayer layer(&backend(), shape);
    layer.add(1, &stream);
    decode_after(&layer, 1, prompt, steps);
    EXPECT_FALSE(has_nan(layer.out(1)));
    return layer.out(1);
  }
};

LayerShape dense(LayerShape shape) {
  shape.attention.mode = AttentionMode::kDense;
  const int64_t heads = shape.num_kv_heads();
  shape.pattern = HeadPattern::uniform(1, heads, HeadClass::kRetrieval);
  return shape;
}

// Up to the budget the result is dense attention's to the bit, also on the last step before it.
TEST_P(Equivalence, P1_BudgetOfTheContextIsDense) {
  for_each_case(test_cases_on_backend(1000), [&](Random& random, int64_t i) {
    const LayerShape shape = random_layer(AttentionMode::kPages, &random);
    const int64_t budget = shape.attention.token_budget;
    const int64_t steps = random.integer(1, 3);
    const int64_t end = i % 2 == 0 ? budget - random.integer(0, 1) : random.integer(steps, budget);
    const auto stream = random_stream(shape, end, random_values(&random), &random);
    EXPECT_TRUE(same_bits(decode_of(shape, stream, end - steps, steps),
                          decode_of(dense(shape), stream, end - steps, steps)));
  });
}

// No head streams and the budget is not reached: lserve is dense, and a layer of several classes
// gives each head what it gets among heads of its own class.
TEST_P(Equivalence, P2_NothingSparseIsDense) {
  for_each_case(test_cases_on_backend(1000), [&](Random& random, int64_t) {
    LayerShape shape = random_layer(AttentionMode::kLServe, &random);
    const auto tokens = random.integer(2, shape.attention.token_budget);
    const auto stream = random_stream(shape, tokens, random_values(&random), &random);
    const auto expected = decode_of(dense(shape), stream, tokens - 2, 2);
    LayerShape nothing = shape;
    nothing.pattern = HeadPattern::uniform(1, shape.num_kv_heads(), HeadClass::kRetrieval);
    EXPECT_TRUE(same_bits(decode_of(nothing, stream, tokens - 2, 2), expected));
    // The retrieval heads beside streaming ones.
    const auto mixed = decode_of(shape, stream, tokens - 2, 2);
    const auto width = static_cast<size_t>(shape.group * shape.head_dim);
    for (const int32_t head : shape.pattern.heads(0, HeadClass::kRetrieval)) {
      for (size_t step = 0; step < 2; ++step) {
        const size_t at =
            step * static_cast<size_t>(shape.q_width()) + static_cast<size_t>(head) * width;
        EXPECT_TRUE(
            same_bits(std::span(mixed).subspan(at, width), std::span(expected).subspan(at, width)));
      }
    }
  });
}

// Sink and window that reach everything, at their sum less one, just there and one beyond.
TEST_P(Equivalence, P3_ContextWithinSinkAndWindowIsDense) {
  for_each_case(test_cases_on_backend(1000), [&](Random& random, int64_t i) {
    LayerShape shape = random_layer(AttentionMode::kStreaming, &random);
    const int64_t inside = shape.attention.sink_tokens + shape.attention.local_tokens;
    const int64_t end = std::max<int64_t>(1, inside - i % 2);
    const auto stream = random_stream(shape, end + 1, random_values(&random), &random);
    const auto run = [&](const LayerShape& of, int64_t tokens) {
      return i % 3 == 0 ? decode_of(of, stream, tokens - 1, 1) : [&] {
        AttentionLayer layer(&backend(), of);
        layer.add(1, &stream);
        layer.prefill({{1, tokens}});
        return layer.out(1);
      }();
    };
    EXPECT_TRUE(same_bits(run(shape, end), run(dense(shape), end)));
  });
}

// Tokens outside of sink and window may be NaN: they are not read, and their pages are given back.
TEST_P(Equivalence, P3_TokensOutsideTheWindowMayBeNaN) {
  for_each_case(test_cases_on_backend(1000), [&](Random& random, int64_t) {
    LayerShape shape = random_layer(AttentionMode::kStreaming, &random);
    shape.pattern = HeadPattern::uniform(1, shape.num_kv_heads(), HeadClass::kStreaming);
    const int64_t steps = random.integer(1, 3);
    const int64_t end =
        shape.attention.sink_tokens + shape.attention.local_tokens + steps + random.integer(0, 150);
    auto stream = random_stream(shape, end, random_values(&random), &random);
    const auto clean = decode_of(shape, stream, end - steps, steps);
    const int64_t first = end - steps;  // the first query
    for (int64_t t = shape.attention.sink_tokens; t <= first - shape.attention.local_tokens; ++t) {
      const auto at = t * shape.kv_width();
      std::fill_n(stream.k.begin() + at, shape.kv_width(), std::nanf(""));
      std::fill_n(stream.v.begin() + at, shape.kv_width(), std::nanf(""));
    }
    EXPECT_TRUE(same_bits(decode_of(shape, stream, end - steps, steps), clean));
  });
}

// An interval of one step is no reuse: a selector that forgets before every step gives the same.
TEST_P(Equivalence, P10_IntervalOneIsNoReuse) {
  int64_t selected = 0;
  for_each_case(test_cases_on_backend(1000), [&](Random& random, int64_t) {
    LayerShape shape = random_layer(AttentionMode::kPages, &random);
    const int64_t prompt = selecting_len(shape, &random);
    const int64_t steps = random.integer(2, 6);
    const auto stream = random_stream(shape, prompt + steps, random_values(&random), &random);
    shape.attention.reuse_interval = 64;
    AttentionLayer forgetful(&backend(), shape);
    shape.attention.reuse_interval = 1;
    AttentionLayer fresh(&backend(), shape);
    for (AttentionLayer* layer : {&forgetful, &fresh}) {
      layer->add(1, &stream);
      layer->prefill({{1, prompt}}, /*attend=*/false);
    }
    for (int64_t i = 0; i < steps; ++i) {
      forgetful.forget_selection(1);
      forgetful.decode({1});
      fresh.decode({1});
    }
    EXPECT_TRUE(same_bits(fresh.out(1), forgetful.out(1)));
    selected += fresh.refreshes();
  });
  EXPECT_GT(selected, 0);
}

// Every row is attention by its definition, in float64, over the tokens of its class: the heads
// meet their own queries, keys and values, whatever their rank in a pool.
TEST_P(Equivalence, P2_EveryHeadAttendsItsOwnTokens) {
  for_each_case(test_cases_on_backend(1000), [&](Random& random, int64_t i) {
    LayerShape shape = random_layer(AttentionMode::kStreaming, &random);
    shape.format = KvFormat::kF32;
    const int64_t tokens = random.integer(1, 90);
    const auto stream = random_stream(shape, tokens, Values::kNormal, &random);
    AttentionLayer layer(&backend(), shape);
    layer.add(1, &stream);
    if (i % 2 == 0) {
      layer.prefill({{1, tokens}});
    } else {
      decode_after(&layer, 1, tokens - 1, 1);
    }
    const auto dim = static_cast<size_t>(shape.head_dim);
    const auto row_of = [&](const std::vector<float>& x, int64_t row) {
      return std::span(x).subspan(static_cast<size_t>(row) * dim, dim);
    };
    const int64_t query = tokens - 1;
    const int64_t last = static_cast<int64_t>(layer.out(1).size()) / shape.q_width() - 1;
    for (int64_t h = 0; h < shape.num_q_heads(); ++h) {
      const auto kv_head = static_cast<int32_t>(h / shape.group);
      const auto streaming = shape.pattern.heads(0, HeadClass::kStreaming);
      const bool streams =
          std::find(streaming.begin(), streaming.end(), kv_head) != streaming.end();
      const TokenWindow window = streams ? shape.attention.decode_window() : TokenWindow{};
      std::vector<double> out(dim, 0);
      double sum = 0;
      for (const int32_t t : visible_from(static_cast<int32_t>(query), window)) {
        const auto key = row_of(stream.k, t * shape.num_kv_heads() + kv_head);
        const auto value = row_of(stream.v, t * shape.num_kv_heads() + kv_head);
        const auto q = row_of(stream.q, query * shape.num_q_heads() + h);
        double score = 0;
        for (size_t c = 0; c < dim; ++c) score += double{q[c]} * double{key[c]};
        const double weight = std::exp(score * double{shape.softmax_scale()});
        sum += weight;
        for (size_t c = 0; c < dim; ++c) out[c] += weight * double{value[c]};
      }
      for (double& x : out) x /= sum;
      EXPECT_TRUE(all_near(row_of(layer.out(1), last * shape.num_q_heads() + h), out, 1e-4))
          << "query head " << h << (streams ? ", streaming" : ", retrieval");
    }
  });
}

INSTANTIATE_FOR_ALL_BACKENDS(Equivalence);

}  // namespace
}  // namespace lserve::testing
