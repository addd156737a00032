// P10, P11, P12, P14 and P17 of the whole engine, on a tiny random model: the logits of a sequence
// depend on its tokens and settings, to the bit, and on nothing else.
#include "engine/engine.h"
#include "properties/layer_cases.h"
#include "support/engine_harness.h"
#include "support/engine_memory.h"
#include "support/random_llama.h"

namespace lserve::testing {
namespace {

constexpr int64_t kContext = 1024;

// A model with a head pattern of which one layer streams at the fraction 0.5.
class EngineProperties : public ::testing::Test {
 protected:
  EngineProperties() {
    Random random(test_seed());
    test::RandomLlama(&random).write(model_);
    pattern_.write("full_attention_heads.tsv", "0.25\n0.75\n");
  }

  std::unique_ptr<Engine> open(AttentionMode mode, int64_t chunk, int32_t interval = 4) const {
    EngineConfig config;
    config.model_path = model_.path();
    config.mode = mode;
    config.head_pattern_path = pattern_.path();
    config.sink_tokens = 20;
    config.local_tokens = 50;
    config.attention.token_budget = 4 * kPageSize;
    config.attention.reuse_interval = interval;
    config.max_model_len = kContext;
    config.rope_theta = 10000.0;  // lifts the limit of the model's own context
    config.chunk = chunk;
    config.backend.num_threads = 1;
    auto backend = make_backend(test::device_under_test(config.backend)).value();
    auto plan = make_engine_plan(config, *backend, MemoryCheck::kReportOnly);
    EXPECT_TRUE(plan.ok()) << plan.status().message();
    return Engine::load(std::move(plan).value(), std::move(backend), {}).value();
  }

  static std::vector<int32_t> random_tokens(int64_t count, Random* random) {
    std::vector<int32_t> tokens;
    for (int64_t i = 0; i < count; ++i) {
      tokens.push_back(static_cast<int32_t>(random->integer(0, test::RandomLlama::kVocab - 1)));
    }
    return tokens;
  }

  // Appends the logits of the last step's rows, as many as are asked for at once.
  static void take_logits(Engine& engine, std::vector<float>* all) {
    const int64_t rows = engine.last_step_tokens();
    for (int64_t first = 0; first < rows; first += engine.max_logit_rows()) {
      const auto some =
          test::host_logits(engine, first, std::min(engine.max_logit_rows(), rows - first));
      all->insert(all->end(), some.begin(), some.end());
    }
  }
  static void prefill(Engine& engine, Sequence& sequence, std::span<const int32_t> tokens,
                      std::vector<float>* all) {
    const Status status = engine.prefill(sequence, tokens);
    ASSERT_TRUE(status.ok()) << status.message();
    take_logits(engine, all);
  }
  static void decode(Engine& engine, Sequence& sequence, std::span<const int32_t> tokens,
                     std::vector<float>* all) {
    for (const int32_t token : tokens) {
      const Status status = engine.decode(sequence, token);
      ASSERT_TRUE(status.ok()) << status.message();
      take_logits(engine, all);
    }
  }
  // A prompt in random chunks, then decode steps.
  static std::vector<float> run(Engine& engine, Sequence& sequence, std::span<const int32_t> tokens,
                                int64_t steps, Random* random) {
    std::vector<float> all;
    const auto prompt = tokens.first(tokens.size() - static_cast<size_t>(steps));
    size_t done = 0;
    while (done < prompt.size()) {
      const auto most =
          std::min<int64_t>(engine.chunk(), static_cast<int64_t>(prompt.size() - done));
      const auto count = static_cast<size_t>(random == nullptr ? most : random->integer(1, most));
      prefill(engine, sequence, prompt.subspan(done, count), &all);
      done += count;
    }
    decode(engine, sequence, tokens.subspan(done), &all);
    return all;
  }

  TempDirectory model_;
  TempDirectory pattern_;
};

constexpr std::array kModes = {AttentionMode::kDense, AttentionMode::kStreaming,
                               AttentionMode::kPages, AttentionMode::kLServe};

// Any chunks, in pages that were used before: a sequence of another length went first.
TEST_F(EngineProperties, P11_P12_ChunksAndPlacesDoNotShow) {
  for (const AttentionMode mode : kModes) {
    const auto whole = open(mode, 128);
    const auto cut = open(mode, 40);
    for_each_case(test_cases(250), [&](Random& random, int64_t i) {
      const int64_t steps = random.integer(0, 3);
      const int64_t most = i % 8 == 0 ? 300 : 100;
      const auto tokens = random_tokens(random.integer(steps + 1, most), &random);
      Sequence first = whole->new_sequence();
      const auto expected = run(*whole, first, tokens, steps, nullptr);
      auto before = std::optional(cut->new_sequence());
      auto neighbour = std::optional(cut->new_sequence());
      run(*cut, *before, random_tokens(random.integer(1, 70), &random), 0, nullptr);
      run(*cut, *neighbour, random_tokens(random.integer(1, 70), &random), 0, nullptr);
      before.reset();
      neighbour.reset();
      Sequence second = cut->new_sequence();
      EXPECT_FALSE(has_nan(expected));
      EXPECT_TRUE(same_bits(run(*cut, second, tokens, steps, &random), expected))
          << attention_mode_name(mode);
    });
  }
}

// The longest prompts that the plan promises, in chunks of every size: no pool is too small.
TEST_F(EngineProperties, P12_TheWholeContextFits) {
  for (const AttentionMode mode : kModes) {
    for (const int64_t chunk : {1, 63, 64, 65, 100}) {
      const auto engine = open(mode, chunk);
      for_each_case(test_cases(chunk == 1 ? 1 : 3), [&](Random& random, int64_t i) {
        const auto tokens = random_tokens(chunk == 1 ? 200 : kContext, &random);
        Sequence sequence = engine->new_sequence();
        run(*engine, sequence, tokens, 1, i == 0 ? nullptr : &random);
        EXPECT_EQ(sequence.kv_len(), static_cast<int64_t>(tokens.size()));
      });
    }
  }
}

// A second prompt after some answer: the selection made before it is not used again.
TEST_F(EngineProperties, P10_APrefillEndsTheSelection) {
  const auto engine = open(AttentionMode::kLServe, 128, 64);
  const auto again = open(AttentionMode::kLServe, 128, 64);
  int64_t refreshes = 0;
  for_each_case(test_cases(200), [&](Random& random, int64_t) {
    const auto tokens = random_tokens(random.integer(280, 330), &random);
    const auto more = random_tokens(random.integer(1, 40), &random);
    const auto rest = random_tokens(2, &random);
    const auto both = [&](Engine& e, bool forget) {
      Sequence sequence = e.new_sequence();
      auto all = run(e, sequence, tokens, 2, nullptr);
      prefill(e, sequence, more, &all);
      if (forget) sequence.selection.clear();
      decode(e, sequence, rest, &all);
      return all;
    };
    const auto expected = both(*again, true);
    EXPECT_TRUE(same_bits(both(*engine, false), expected));
    refreshes += engine->counts().refreshes;
  });
  EXPECT_GT(refreshes, 0);
}

// What the pages held before is not read, and later tokens do not reach earlier logits.
TEST_F(EngineProperties, P14_P17_GarbageAndLaterTokensDoNotShow) {
  for (const AttentionMode mode : kModes) {
    const auto clean = open(mode, 128);
    const auto poisoned = open(mode, 128);
    test::poison_pages(*poisoned);
    for_each_case(test_cases(250), [&](Random& random, int64_t) {
      auto tokens = random_tokens(random.integer(2, 100), &random);
      const auto kept = random.integer(1, static_cast<int64_t>(tokens.size()) - 1);
      Sequence first = clean->new_sequence();
      auto expected = run(*clean, first, tokens, 0, nullptr);
      for (size_t t = static_cast<size_t>(kept); t < tokens.size(); ++t) {
        tokens[t] = (tokens[t] + 1) % static_cast<int32_t>(test::RandomLlama::kVocab);
      }
      Sequence second = poisoned->new_sequence();
      auto actual = run(*poisoned, second, tokens, 0, nullptr);
      expected.resize(static_cast<size_t>(kept * test::RandomLlama::kVocab));
      actual.resize(expected.size());
      EXPECT_FALSE(has_nan(expected));
      EXPECT_TRUE(same_bits(actual, expected)) << attention_mode_name(mode);
    });
  }
}

}  // namespace
}  // namespace lserve::testing
