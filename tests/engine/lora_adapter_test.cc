// An adapter at run time against the same adapter put into the weights, on a tiny random model; and
// what it changes of the plan.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/engine.h"
#include "support/compare.h"
#include "support/engine_memory.h"
#include "support/model_files.h"
#include "support/property.h"
#include "support/random_llama.h"

namespace lserve::test {
namespace {

constexpr int64_t kTokens = 40;

EngineConfig config_for(const std::string& model, const std::string& adapter, BackendKind kind) {
  EngineConfig config;
  config.model_path = model;
  config.lora_path = adapter;
  config.max_model_len = 128;
  config.kv_format = KvFormat::kF32;
  config.backend.kind = kind;
  config.backend.num_threads = 2;
  return config;
}

Result<EnginePlan> plan_for(const EngineConfig& config) {
  const auto backend = make_backend(config.backend);
  return make_engine_plan(config, **backend, MemoryCheck::kEnforce);
}

// Logits of all tokens, which are fed in chunks of `chunk`; the last 8 one by one, as answers are.
std::vector<float> logits(const EngineConfig& config, int64_t chunk) {
  std::vector<float> all;
  auto backend = make_backend(config.backend);
  auto plan = make_engine_plan(config, **backend, MemoryCheck::kEnforce);
  EXPECT_TRUE(plan.ok()) << plan.status().message();
  if (!plan.ok()) return all;
  auto engine = Engine::load(std::move(plan).value(), std::move(backend).value(), {});
  EXPECT_TRUE(engine.ok()) << engine.status().message();
  if (!engine.ok()) return all;
  Sequence sequence = (*engine)->new_sequence();
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < kTokens; ++i) {
    tokens.push_back((i * 17 + i / 7) % static_cast<int32_t>(RandomLlama::kVocab));
  }
  const auto take = [&](int64_t count) {
    const auto rows = host_logits(**engine, 0, count);
    all.insert(all.end(), rows.begin(), rows.end());
  };
  constexpr int64_t kPrompt = kTokens - 8;
  for (int64_t first = 0; first < kPrompt; first += chunk) {
    const int64_t count = std::min(chunk, kPrompt - first);
    EXPECT_TRUE((*engine)
                    ->prefill(sequence, std::span(tokens).subspan(static_cast<size_t>(first),
                                                                  static_cast<size_t>(count)))
                    .ok());
    take(count);
  }
  for (int64_t i = kPrompt; i < kTokens; ++i) {
    EXPECT_TRUE((*engine)->decode(sequence, tokens[static_cast<size_t>(i)]).ok());
    take(1);
  }
  return all;
}

// The largest difference, as a share of the range of the first.
double distance(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  const auto [least, most] = std::minmax_element(a.begin(), a.end());
  double worst = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    worst = std::max(worst, std::abs(double{a[i]} - double{b[i]}));
  }
  return worst / (double{*most} - double{*least});
}

// A base, an adapter, and the two put together, as directories.
struct Fixture {
  Fixture(const RandomLlama& base, const RandomAdapter& adapter, const std::string& config) {
    base.write(model);
    adapter.write(lora, config);
    adapter.merged_into(base).write(merged);
  }
  TempDirectory model, lora, merged;
};

void expect_same_as_merged(const Fixture& f) {
  for (const BackendKind kind : {BackendKind::kReference, BackendKind::kCpu}) {
    const auto plain = logits(config_for(f.model.path(), "", kind), 32);
    const auto merged = logits(config_for(f.merged.path(), "", kind), 32);
    const EngineConfig config = config_for(f.model.path(), f.lora.path(), kind);
    const auto adapted = logits(config, 32);
    // Two layers of float32 sums of about a hundred terms.
    EXPECT_LT(distance(merged, adapted), 1e-5);
    EXPECT_GT(distance(merged, plain), 0.05) << "the adapter changes too little to be tested";
    for (const int64_t chunk : {1, 5, 17}) {
      EXPECT_TRUE(testing::same_bits(logits(config, chunk), adapted)) << "chunk " << chunk;
    }
  }
}

std::string plain_config(int64_t rank, int64_t alpha) {
  return cat(R"({"peft_type": "LORA", "r": )", rank, R"(, "lora_alpha": )", alpha,
             R"(, "target_modules": "all-linear"})");
}

TEST(LoraAdapterRun, AllProjectionsOfEveryRank) {
  for (const int64_t rank : {1, 4, 17}) {
    SCOPED_TRACE(rank);
    Random random(testing::test_seed());
    const RandomLlama base(&random);
    RandomAdapter adapter;
    for (const auto& [module, matrix] : base.projections) {
      adapter.add(base, module, rank, 8.0 / static_cast<double>(rank), &random);
    }
    expect_same_as_merged({base, adapter, plain_config(rank, 8)});
  }
}

// Each projection alone, so that none can stand in for another.
TEST(LoraAdapterRun, EachProjectionAlone) {
  Random random(testing::test_seed());
  const RandomLlama base(&random);
  for (const auto& [module, matrix] : base.projections) {
    if (!module.starts_with("model.layers.1.")) continue;
    SCOPED_TRACE(module);
    RandomAdapter adapter;
    adapter.add(base, module, 5, 3.0, &random);
    const std::string name = module.substr(module.rfind('.') + 1);
    const Fixture f(base, adapter,
                    cat(R"({"peft_type": "LORA", "r": 5, "lora_alpha": 15, "target_modules": [")",
                        name, R"("], "layers_to_transform": [1]})"));
    const auto merged = logits(config_for(f.merged.path(), "", BackendKind::kCpu), 32);
    const auto adapted = logits(config_for(f.model.path(), f.lora.path(), BackendKind::kCpu), 32);
    const auto plain = logits(config_for(f.model.path(), "", BackendKind::kCpu), 32);
    EXPECT_LT(distance(merged, adapted), 1e-5);
    EXPECT_GT(distance(merged, plain), 1e-3);
  }
}

TEST(LoraAdapterRun, RankAndAlphaOfTheirOwnAndRootOfTheRank) {
  Random random(testing::test_seed());
  const RandomLlama base(&random);
  RandomAdapter adapter;
  for (const auto& [module, matrix] : base.projections) {
    if (module.ends_with("v_proj") || module.ends_with("up_proj")) continue;
    const bool is_down = module.ends_with("down_proj");
    const bool is_first_q = module == "model.layers.0.self_attn.q_proj";
    const int64_t rank = is_first_q ? 3 : is_down ? 9 : 4;
    adapter.add(base, module, rank, (is_down ? 6.0 : 4.0) / std::sqrt(static_cast<double>(rank)),
                &random);
  }
  expect_same_as_merged({base, adapter,
                         R"({"peft_type": "LORA", "r": 4, "lora_alpha": 4, "use_rslora": true,
           "rank_pattern": {"layers.0.self_attn.q_proj": 3, "down_proj": 9},
           "alpha_pattern": {"down_proj": 6.0},
           "target_modules": ["q_proj", "k_proj", "o_proj", "gate_proj", "down_proj"]})"});
}

TEST(LoraAdapterRun, ScaleZeroIsTheBase) {
  Random random(testing::test_seed());
  const RandomLlama base(&random);
  RandomAdapter adapter;
  for (const auto& [module, matrix] : base.projections) adapter.add(base, module, 4, 2.0, &random);
  const Fixture f(base, adapter, plain_config(4, 8));
  EngineConfig config = config_for(f.model.path(), f.lora.path(), BackendKind::kCpu);
  config.lora_scale = 0;
  const auto plain = logits(config_for(f.model.path(), "", BackendKind::kCpu), 32);
  EXPECT_TRUE(testing::same_bits(logits(config, 32), plain));
  config.lora_scale = -1;
  EXPECT_GT(distance(plain, logits(config, 32)), 0.05);
}

TEST(LoraAdapterRun, AValueThatIsNotFiniteIsRefusedByName) {
  Random random(testing::test_seed());
  const RandomLlama base(&random);
  RandomAdapter adapter;
  for (const auto& [module, matrix] : base.projections) adapter.add(base, module, 4, 2.0, &random);
  adapter.pairs["model.layers.1.mlp.up_proj"].b.at(7, 2) = std::nanf("");
  const Fixture f(base, adapter, plain_config(4, 8));
  const EngineConfig config = config_for(f.model.path(), f.lora.path(), BackendKind::kCpu);
  auto plan = plan_for(config);
  ASSERT_TRUE(plan.ok());
  const auto engine =
      Engine::load(std::move(plan).value(), std::move(make_backend(config.backend)).value(), {});
  ASSERT_FALSE(engine.ok());
  EXPECT_EQ(engine.status().kind(), ErrorKind::kModel);
  EXPECT_NE(engine.status().message().find("layers.1.mlp.up_proj.lora_B"), std::string::npos)
      << engine.status().message();
}

// A base with an adapter on all of it, and the plans of both.
struct PlanFixture : Fixture {
  PlanFixture() : PlanFixture(Random(testing::test_seed())) {}
  explicit PlanFixture(Random random) : PlanFixture(RandomLlama(&random), &random) {}
  PlanFixture(const RandomLlama& base, Random* random)
      : Fixture(base, on_all(base, random), plain_config(4, 8)) {}
  static RandomAdapter on_all(const RandomLlama& base, Random* random) {
    RandomAdapter adapter;
    for (const auto& [module, matrix] : base.projections) adapter.add(base, module, 4, 2.0, random);
    return adapter;
  }
  EngineConfig config() const {
    EngineConfig config = config_for(model.path(), lora.path(), BackendKind::kReference);
    config.max_model_len.reset();
    return config;
  }
};

TEST(LoraAdapterPlan, MemoryCountsIt) {
  const PlanFixture f;
  EngineConfig config = f.config();
  const auto with = plan_for(config);
  config.lora_path.clear();
  const auto without = plan_for(config);
  ASSERT_TRUE(with.ok() && without.ok());
  // Ranks of 4 on each matrix of two layers, in floats.
  const int64_t widths =
      2 * (3 * 80 + 128 + 64 + 64) + 2 * (128 + 80) + 2 * (2 * 80 + 3 * 112 + 80);
  EXPECT_EQ(with->memory.weight_bytes - without->memory.weight_bytes, 4 * 4 * widths);
  EXPECT_EQ(with->memory.workspace.low_rank_columns, 12);  // q, k and v
  EXPECT_GT(with->memory.workspace_bytes, without->memory.workspace_bytes);
}

TEST(LoraAdapterPlan, ItsConfigOverridesRopeAndContextAndFlagsBeatIt) {
  const PlanFixture f;
  auto plan = plan_for(f.config());
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->inputs.config.rope.theta, 10000);
  EXPECT_EQ(plan->memory.context, 512);
  f.lora.write("config.json", RandomLlama::config(2048, 50000));
  plan = plan_for(f.config());
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ(plan->inputs.config.rope.theta, 50000);
  EXPECT_EQ(plan->memory.context, 2048);
  EngineConfig config = f.config();
  config.rope_theta = 777;
  config.max_model_len = 1024;
  plan = plan_for(config);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->inputs.config.rope.theta, 777);
  EXPECT_EQ(plan->memory.context, 1024);
}

TEST(LoraAdapterPlan, ItsHeadPatternBeatsTheModels) {
  const PlanFixture f;
  const auto write = [](const TempDirectory& directory) {
    std::filesystem::create_directories(directory.path() + "/head_pattern");
    directory.write("head_pattern/full_attention_heads.tsv", "0.5\n0.25\n");
  };
  write(f.model);
  auto plan = plan_for(f.config());
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_TRUE(plan->pattern_path.starts_with(f.model.path()));
  write(f.lora);
  plan = plan_for(f.config());
  ASSERT_TRUE(plan.ok());
  EXPECT_TRUE(plan->pattern_path.starts_with(f.lora.path()));
  EXPECT_EQ(plan->inputs.attention.mode, AttentionMode::kLServe);
  EngineConfig config = f.config();
  config.head_pattern_path = f.model.path() + "/head_pattern";
  plan = plan_for(config);
  ASSERT_TRUE(plan.ok());
  EXPECT_TRUE(plan->pattern_path.starts_with(f.model.path()));
}

TEST(LoraAdapterPlan, TheLongAdapterOnTheWrongModelIsRefusedByName) {
  const auto adapter = smollm2_long_adapter();
  if (!adapter) GTEST_SKIP() << kNoLongAdapter;
  const auto plan = plan_for(config_for(retriever_gguf(), *adapter, BackendKind::kReference));
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.status().kind(), ErrorKind::kModel);
  for (const char* part : {"lora_A.weight", "[32, ", "expected [32, "}) {
    EXPECT_NE(plan.status().message().find(part), std::string::npos) << plan.status().message();
  }
}

}  // namespace
}  // namespace lserve::test
