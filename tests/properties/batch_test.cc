// P12 and P13: how a prompt is cut and who else is in the batch change no bit of a sequence's
// outputs, nor of what its pages hold.
#include "properties/layer_cases.h"

namespace lserve::testing {
namespace {

class Batch : public LayerTest {};

TEST_P(Batch, P12_ChunksChangeNothing) {
  for_each_case(test_cases_on_backend(1000), [&](Random& random, int64_t) {
    const LayerShape shape = random_layer(random_mode(&random), &random);
    const int64_t tokens = random.integer(1, 150);
    const auto stream = random_stream(shape, tokens + 2, random_values(&random), &random);
    AttentionLayer whole(&backend(), shape);
    AttentionLayer cut(&backend(), shape);
    whole.add(1, &stream);
    cut.add(1, &stream);
    whole.prefill({{1, tokens}});
    for (const int64_t chunk : random_chunks(tokens, &random)) cut.prefill({{1, chunk}});
    for (const HeadClass c : {HeadClass::kRetrieval, HeadClass::kStreaming}) {
      EXPECT_EQ(cut.contents(1, c), whole.contents(1, c));
    }
    for (AttentionLayer* layer : {&whole, &cut}) {
      layer->decode({1});
      layer->decode({1});
    }
    EXPECT_FALSE(has_nan(whole.out(1)));
    EXPECT_TRUE(same_bits(cut.out(1), whole.out(1)));
  });
}

// Prompts side by side, in chunks of any size and in any order.
TEST_P(Batch, P13_MatesOfAPrefillChangeNothing) {
  for_each_case(test_cases_on_backend(1000), [&](Random& random, int64_t) {
    const LayerShape shape = random_layer(random_mode(&random), &random);
    const uint64_t me = static_cast<uint64_t>(random.integer(1, 3));
    std::map<uint64_t, TokenStream> streams;
    for (uint64_t key = 1; key <= 3; ++key) {
      streams[key] = random_stream(shape, 90, random_values(&random), &random);
    }
    AttentionLayer alone(&backend(), shape);
    AttentionLayer crowd(&backend(), shape);
    for (auto& [key, stream] : streams) crowd.add(key, &stream);
    alone.add(me, &streams[me]);
    for (int step = 0; step < 3; ++step) {
      std::vector<AttentionLayer::Part> parts;
      for (uint64_t key = 1; key <= 3; ++key) parts.push_back({key, random.integer(1, 30)});
      alone.prefill({parts[me - 1]});
      if (random.integer(0, 1) == 0) std::swap(parts[0], parts[2]);
      crowd.prefill(parts);
    }
    EXPECT_FALSE(has_nan(alone.out(me)));
    EXPECT_TRUE(same_bits(crowd.out(me), alone.out(me)));
  });
}

// Mates of other lengths that come, go and change their places while a sequence decodes, on either
// side of the budget, in every phase of the reuse interval.
TEST_P(Batch, P13_MatesOfADecodeStepChangeNothing) {
  int64_t selected = 0;
  for_each_case(test_cases_on_backend(1000), [&](Random& random, int64_t) {
    LayerShape shape = random_layer(random_mode(&random), &random);
    const int64_t steps = random.integer(2, 6);
    const int64_t prompt = selecting_len(shape, &random);
    const auto stream = random_stream(shape, prompt + steps, random_values(&random), &random);
    const auto of_mates = random_stream(shape, prompt + 150, random_values(&random), &random);
    AttentionLayer alone(&backend(), shape);
    AttentionLayer crowd(&backend(), shape);
    std::vector<uint64_t> keys = {7};
    const auto join = [&](uint64_t key) {
      crowd.add(key, &of_mates);
      crowd.prefill({{key, random.integer(1, prompt + 100)}}, /*attend=*/false);
      keys.insert(keys.begin() + random.integer(0, static_cast<int64_t>(keys.size())), key);
    };
    join(1);
    for (AttentionLayer* layer : {&alone, &crowd}) {
      layer->add(7, &stream);
      layer->prefill({{7, prompt}}, /*attend=*/false);
    }
    for (int64_t step = 0; step < steps; ++step) {
      if (random.integer(0, 3) == 0 && keys.size() < 3) join(static_cast<uint64_t>(10 + step));
      if (random.integer(0, 3) == 0 && keys.size() > 1) {
        const auto gone = keys.front() == 7 ? keys.begin() + 1 : keys.begin();
        crowd.remove(*gone);
        keys.erase(gone);
      }
      alone.decode({7});
      crowd.decode(keys);
    }
    EXPECT_FALSE(has_nan(alone.out(7)));
    EXPECT_TRUE(same_bits(crowd.out(7), alone.out(7)));
    selected += alone.refreshes();
  });
  EXPECT_GT(selected, 0);
}

INSTANTIATE_FOR_ALL_BACKENDS(Batch);

}  // namespace
}  // namespace lserve::testing
