// How many of the pages that 16-bit key statistics select, 8-bit ones select too: on the keys and
// queries of real models, at every selection of every layer and KV head of some decode steps. Pages
// that are always read do not count.
//
// A few prompts by default; with LSERVE_ALL_PROMPTS set more and longer ones, which with
// LSERVE_RECORD is bench/results/quality_key_stats.json.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "kernels/forwarding_backend.h"
#include "support/engine_harness.h"
#include "support/example_prompts.h"
#include "support/model_files.h"
#include "support/record.h"

namespace lserve::test {
namespace {

constexpr double kLeastRecall = 0.97;
constexpr int64_t kSteps = 12;  // tokens after each prompt; all select anew

bool everything() { return std::getenv("LSERVE_ALL_PROMPTS") != nullptr; }

Record& record() {
  static Record instance("quality_key_stats",
                         "LSERVE_ALL_PROMPTS=1 e2e_test --gtest_filter=KeyStatsRecall.*");
  return instance;
}

struct Recall {
  int64_t selected = 0;  // by the 16-bit statistics, forced pages left out
  int64_t common = 0;
  double share() const { return static_cast<double>(common) / static_cast<double>(selected); }
};

// Runs with 16-bit statistics, and keeps 8-bit ones of the same keys beside them.
class TwoStatistics final : public ForwardingBackend {
 public:
  TwoStatistics(std::unique_ptr<Backend> backend, Recall* recall)
      : ForwardingBackend(std::move(backend)), recall_(*recall) {}

  void write_kv(const WriteKvParams& params) override {
    inner().write_kv(params);
    if (params.kv.key_stats == nullptr) return;
    WriteKvParams again = params;
    again.kv = in_8_bits(params.kv);
    inner().write_kv(again);
  }
  void rope_write_kv(const RopeWriteKvParams& params) override {
    inner().rope(params.rope);
    for (const WriteKvParams& pool : params.pools) write_kv(pool);
  }
  void page_scores(const PageScoreParams& params) override {
    inner().page_scores(params);
    scores_.resize(static_cast<size_t>(params.scores.shape.num_elements()));
    PageScoreParams again = params;
    again.kv = in_8_bits(params.kv);
    again.scores = TensorView(scores_.data(), params.scores.shape);
    inner().page_scores(again);
  }
  void select_spans(const SelectSpansParams& params) override {
    inner().select_spans(params);
    const SelectPagesParams& select = params.select;
    selected_.resize(static_cast<size_t>(select.selected.shape.num_elements()));
    SelectPagesParams again = select;
    again.scores = TensorView(scores_.data(), select.scores.shape);
    again.selected = TensorView(selected_.data(), select.selected.shape);
    inner().select_pages(again);
    for (size_t i = 0; i < select.rows.size(); ++i) {
      if (select.num_pages[i] > 0) count(select, select.rows[i], select.num_pages[i]);
    }
  }

 private:
  // The pool with statistics of its own, which belong to the same pages.
  PagedKvView in_8_bits(const PagedKvView& kv) {
    PagedKvView view = kv;
    view.stats_format = KeyStatsFormat::kInt8;
    std::vector<bf16>& stats = stats_[kv.key_stats];
    stats.resize(static_cast<size_t>(kv.num_pages * kv.num_heads * view.stats_elements()));
    view.key_stats = stats.data();
    return view;
  }
  void count(const SelectPagesParams& select, int64_t row, int32_t num_pages) {
    const auto pages_of = [&](const int32_t* selected) {
      const int32_t* begin = selected + row * select.budget;
      return std::vector<int32_t>(begin + select.num_sink_pages, begin + select.budget - 2);
    };
    const std::vector<int32_t> in_16_bits = pages_of(select.selected.as<int32_t>());
    const std::vector<int32_t> in_8_bits = pages_of(selected_.data());
    EXPECT_LT(in_16_bits.back(), num_pages - 2);
    std::vector<int32_t> common;
    std::ranges::set_intersection(in_16_bits, in_8_bits, std::back_inserter(common));
    recall_.selected += static_cast<int64_t>(in_16_bits.size());
    recall_.common += static_cast<int64_t>(common.size());
  }

  Recall& recall_;
  std::map<const bf16*, std::vector<bf16>> stats_;  // by the pool's own
  std::vector<float> scores_;
  std::vector<int32_t> selected_;
};

EngineConfig config_for(const std::string& model, int64_t context, int32_t budget) {
  EngineConfig config;
  config.model_path = model;
  config.mode = AttentionMode::kPages;  // every head selects
  config.max_model_len = context;
  config.attention.token_budget = budget;
  config.attention.reuse_interval = 1;
  return config;
}

Result<Harness> open_with_both(const EngineConfig& config, Recall* recall) {
  ASSIGN_OR_RETURN(auto backend, make_backend(config.backend));
  return open_harness(config, std::make_unique<TwoStatistics>(std::move(backend), recall));
}

void expect_recall(const std::string& name, const Recall& recall) {
  ASSERT_GT(recall.selected, everything() ? 10000 : 1000) << "too few selections to say";
  std::printf("%s: recall %.4f of %lld pages\n", name.c_str(), recall.share(),
              static_cast<long long>(recall.selected));
  record().add(name + ", recall of the 16-bit selection", recall.share(), "fraction", ">= 0.97",
               recall.share() >= kLeastRecall);
  EXPECT_GE(recall.share(), kLeastRecall) << name;
}

// The longest of a retriever's example prompts, of 8K tokens.
void ask_retriever(const std::string& name, const EngineConfig& config, const std::string& file) {
  Recall recall;
  auto opened = open_with_both(config, &recall);
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  size_t asked = 0;
  for (const ExamplePrompt& example : example_prompts(file)) {
    if (example.prompt.size() < 7500 || asked == (everything() ? 8 : 1)) continue;
    greedy(*opened, opened->prompts->raw(example.prompt), kSteps);
    ++asked;
  }
  expect_recall(name, recall);
}

TEST(KeyStatsRecall, Retriever) {
  const std::string prompts = source_path("models/example_prompts.jsonl");
  ask_retriever("retriever-14m, 8K tokens, budget 1024", config_for(retriever_gguf(), 9216, 1024),
                prompts);
  if (!everything()) return;
  ask_retriever("retriever-14m, 8K tokens, budget 2048", config_for(retriever_gguf(), 9216, 2048),
                prompts);
}

TEST(KeyStatsRecall, RetrieverHd128) {
  if (!retriever_hd128()) GTEST_SKIP() << kNoRetrieverHd128;
  ask_retriever("retriever-11m-hd128, 8K tokens, budget 1024",
                config_for(*retriever_hd128(), 9216, 1024),
                *retriever_hd128() + "/example_prompts.jsonl");
}

TEST(KeyStatsRecall, SmolLm2Long) {
  if (!smollm2_gguf()) GTEST_SKIP() << kNoSmolLm2;
  if (!smollm2_long_adapter()) GTEST_SKIP() << kNoLongAdapter;
  if (!everything()) GTEST_SKIP() << "takes minutes: LSERVE_ALL_PROMPTS=1 asks it";
  Recall recall;
  EngineConfig config = config_for(*smollm2_gguf(), 8704, 1024);
  config.lora_path = *smollm2_long_adapter();
  auto opened = open_with_both(config, &recall);
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  size_t asked = 0;
  for (const LongPrompt& example : long_prompts(*smollm2_long_adapter())) {
    if (example.prompt_tokens < 5000 || example.prompt_tokens > 8192 || asked == 4) continue;
    const ChatMessage message{"user", example.user};
    const auto tokens = opened->prompts->chat(std::span(&message, 1), example.prompt_tokens + 64);
    ASSERT_TRUE(tokens.ok()) << tokens.status().message();
    greedy(*opened, *tokens, kSteps);
    ++asked;
  }
  expect_recall("SmolLM2-135M with the long adapter, 8K tokens, budget 1024", recall);
}

}  // namespace
}  // namespace lserve::test
