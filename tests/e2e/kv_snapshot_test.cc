// Saved and restored: the answer is that of a cold run, token for token.
#include "engine/kv_snapshot.h"

#include <numeric>

#include "support/engine_harness.h"
#include "support/example_prompts.h"
#include "support/model_files.h"
#include "support/temp_directory.h"

namespace lserve::test {
namespace {

constexpr int64_t kAnswerTokens = 12;
constexpr int64_t kPromptTokens = 1100;  // longer than budget and windows; no multiple of a page

struct Setting {
  AttentionMode mode;
  KvFormat format;
};

EngineConfig config_for(AttentionMode mode, KvFormat format = KvFormat::kBF16) {
  EngineConfig config;
  config.model_path = retriever_gguf();
  config.mode = mode;
  config.head_pattern_path = retriever_pattern();
  config.max_model_len = 2048;
  config.attention.token_budget = 512;
  config.kv_format = format;
  return config;
}

std::vector<int32_t> prompt_of(const Harness& harness, int64_t tokens) {
  for (const ExamplePrompt& example : example_prompts()) {
    if (example.prompt.size() < 2000) continue;
    std::vector<int32_t> all = harness.prompts->raw(example.prompt);
    all.resize(static_cast<size_t>(tokens));
    return all;
  }
  ADD_FAILURE() << "no example prompt of that length";
  return {};
}

// `count` tokens of the prompt, then others.
std::vector<int32_t> with_other_end(std::vector<int32_t> prompt, int64_t count) {
  for (size_t i = static_cast<size_t>(count); i < prompt.size(); ++i) {
    prompt[i] = prompt[i] == 'a' ? 'b' : 'a';
  }
  return prompt;
}

Status save(Harness& harness, const std::vector<int32_t>& prompt, const std::string& path) {
  Sequence sequence = harness.engine->new_sequence();
  RETURN_IF_ERROR(
      harness.engine->prefill_chunks(sequence, prompt, [](int64_t, int64_t) { return Status(); }));
  ASSIGN_OR_RETURN(const SavedKv saved, save_kv(*harness.engine, sequence, path));
  EXPECT_EQ(saved.tokens, static_cast<int64_t>(prompt.size()) / kPageSize * kPageSize);
  return {};
}

// Greedy tokens after the prompt, from what the file gives; sets how many tokens that was.
Result<std::vector<int32_t>> answer_from(Harness& harness, const std::string& path,
                                         const std::vector<int32_t>& prompt, int64_t* restored) {
  ASSIGN_OR_RETURN(KvFileReader file, KvFileReader::open(path));
  ASSIGN_OR_RETURN(RestoredKv kv, restore_kv(*harness.engine, file, prompt));
  *restored = kv.restored_tokens();
  Request request;
  request.prompt = prompt;
  request.max_tokens = kAnswerTokens;
  request.ignore_eos = true;
  ASSIGN_OR_RETURN(const Answer answer, generate(*harness.engine, harness.prompts->tokenizer(),
                                                 request, kv.sequence, {}));
  EXPECT_EQ(answer.cached_tokens, *restored);
  for (const HeadClass c : {HeadClass::kRetrieval, HeadClass::kStreaming}) {
    harness.engine->cache().pool(c).check_integrity();
  }
  return answer.token_ids;
}

class KvSnapshot : public testing::TestWithParam<Setting> {
 protected:
  const TempDirectory directory_;
  const std::string path_ = directory_.path() + "/kv";
};

TEST_P(KvSnapshot, TheAnswerIsThatOfAColdRun) {
  const bool streams = has_streaming_heads(GetParam().mode);
  EngineConfig config = config_for(GetParam().mode, GetParam().format);
  OPEN_HARNESS(cold, config);
  const std::vector<int32_t> prompt = prompt_of(cold, kPromptTokens);
  {
    config.resume_tokens = 256;
    config.chunk = 100;
    OPEN_HARNESS(saver, config);
    ASSERT_TRUE(save(saver, prompt, path_).ok());
  }
  // Another process: another chunk, and no pages to spare for resuming.
  config.resume_tokens = 0;
  config.chunk = 192;
  OPEN_HARNESS(harness, config);
  struct Case {
    int64_t shared;
    int64_t restored;
  };
  // 1100 = 17 pages and 12 tokens. Streaming heads have their window from page (1100 + 1 - 256 -
  // 256) / 64 = 9 on: enough for what follows 832 = 13 pages, but not 12.
  for (const Case& c : {Case{1100, 1088}, Case{1050, 1024}, Case{900, 896}, Case{832, 832},
                        Case{831, streams ? 0 : 768}, Case{200, streams ? 0 : 192}, Case{63, 0}}) {
    const std::vector<int32_t> other = with_other_end(prompt, c.shared);
    int64_t restored = 0;
    const auto answer = answer_from(harness, path_, other, &restored);
    ASSERT_TRUE(answer.ok()) << answer.status().message();
    EXPECT_EQ(restored, c.restored) << c.shared;
    if (c.shared == 900) continue;  // time: the others have seen every kind of boundary
    EXPECT_EQ(*answer, greedy(cold, other, kAnswerTokens)) << c.shared;
  }
}

INSTANTIATE_TEST_SUITE_P(Settings, KvSnapshot,
                         testing::Values(Setting{AttentionMode::kDense, KvFormat::kBF16},
                                         Setting{AttentionMode::kStreaming, KvFormat::kF32},
                                         Setting{AttentionMode::kPages, KvFormat::kInt8},
                                         Setting{AttentionMode::kLServe, KvFormat::kBF16},
                                         Setting{AttentionMode::kLServe, KvFormat::kInt4}),
                         [](const auto& test) {
                           return std::string(attention_mode_name(test.param.mode)) + "_" +
                                  kv_format_name(test.param.format);
                         });

TEST(KvSnapshotFile, ASavedSequenceCanBeExtendedAndSavedAgain) {
  const TempDirectory directory;
  EngineConfig config = config_for(AttentionMode::kLServe);
  config.resume_tokens = 256;
  OPEN_HARNESS(harness, config);
  const std::vector<int32_t> prompt = prompt_of(harness, kPromptTokens);
  const std::vector<int32_t> head(prompt.begin(), prompt.begin() + 700);
  const std::string whole = directory.path() + "/whole", part = directory.path() + "/part";
  ASSERT_TRUE(save(harness, prompt, whole).ok());
  ASSERT_TRUE(save(harness, head, part).ok());
  int64_t restored = 0;
  auto file = KvFileReader::open(part);
  ASSERT_TRUE(file.ok());
  {
    auto kv = restore_kv(*harness.engine, *file, prompt);
    ASSERT_TRUE(kv.ok()) << kv.status().message();
    restored = kv->restored_tokens();
    EXPECT_EQ(restored, 640);
    const auto rest = std::span(prompt).subspan(static_cast<size_t>(restored));
    ASSERT_TRUE(harness.engine
                    ->prefill_chunks(kv->sequence, rest, [](int64_t, int64_t) { return Status(); })
                    .ok());
    ASSERT_TRUE(save_kv(*harness.engine, kv->sequence, part).ok());
  }
  // Bit for bit what one run saves.
  EXPECT_EQ(read_file(part, 1 << 30).value(), read_file(whole, 1 << 30).value());
}

TEST(KvSnapshotFile, OtherSettingsAreRefusedByName) {
  const TempDirectory directory;
  const std::string path = directory.path() + "/kv";
  const EngineConfig config = config_for(AttentionMode::kLServe);
  OPEN_HARNESS(saver, config);
  const std::vector<int32_t> prompt = prompt_of(saver, 200);
  ASSERT_TRUE(save(saver, prompt, path).ok());
  struct Case {
    const char* field;
    std::function<void(EngineConfig*)> change;
  };
  const Case cases[] = {
      {"KV format", [](EngineConfig* c) { c->kv_format = KvFormat::kInt8; }},
      {"rope", [](EngineConfig* c) { c->rope_theta = 12345.0; }},
      {"rope", [](EngineConfig* c) { c->rope_scaling.emplace().attention_factor = 1.5; }},
      {"page statistics", [](EngineConfig* c) { c->attention.logical_page_size = 32; }},
      {"page statistics", [](EngineConfig* c) { c->attention.page_score = PageScore::kMeanStd; }},
      {"page statistics", [](EngineConfig* c) { c->attention.key_stats = KeyStatsFormat::kInt8; }},
      {"page statistics", [](EngineConfig* c) { c->mode = AttentionMode::kStreaming; }},
      {"head pattern", [](EngineConfig* c) { c->streaming_fraction = 0.25; }},
      {"head pattern", [](EngineConfig* c) { c->sink_tokens = 64; }},
      {"head pattern", [](EngineConfig* c) { c->local_tokens = 300; }},
      {"head pattern", [](EngineConfig* c) { c->attention.prefill_local_tokens = 1024; }},
      {"head pattern", [](EngineConfig* c) { c->streaming_fraction = 0; }},
  };
  int64_t restored = 0;
  for (const Case& c : cases) {
    EngineConfig other = config;
    c.change(&other);
    OPEN_HARNESS(harness, other);
    const auto answer = answer_from(harness, path, prompt, &restored);
    ASSERT_FALSE(answer.ok()) << c.field;
    EXPECT_EQ(answer.status().kind(), ErrorKind::kModel);
    EXPECT_NE(answer.status().message().find(std::string("was saved with ") + c.field),
              std::string::npos)
        << answer.status().message();
  }
  // What only chooses pages does not bind.
  EngineConfig same = config;
  same.attention.token_budget = 1024;
  same.attention.reuse_interval = 1;
  same.chunk = 64;
  same.backend.num_threads = 1;
  OPEN_HARNESS(harness, same);
  EXPECT_TRUE(answer_from(harness, path, prompt, &restored).ok());
  EXPECT_EQ(restored, 192);
}

TEST(KvSnapshotFile, TheSameShapeWithOtherWeightsIsRefused) {
  const TempDirectory directory;
  const std::string path = directory.path() + "/kv";
  std::string bytes = read_file(retriever_gguf(), 1 << 30).value();
  bytes[bytes.size() - 40] ^= 1;  // one bit of the last tensor
  EngineConfig config = config_for(AttentionMode::kDense);
  OPEN_HARNESS(saver, config);
  const std::vector<int32_t> prompt = prompt_of(saver, 100);
  ASSERT_TRUE(save(saver, prompt, path).ok());
  config.model_path = directory.write("other.gguf", bytes);
  OPEN_HARNESS(harness, config);
  int64_t restored = 0;
  const auto answer = answer_from(harness, path, prompt, &restored);
  ASSERT_FALSE(answer.ok());
  EXPECT_NE(answer.status().message().find("was saved with model"), std::string::npos);
}

}  // namespace
}  // namespace lserve::test
