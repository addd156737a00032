#include "attention/attention_config.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>

namespace lserve {
namespace {

struct Case {
  AttentionConfig config;
  const char* names;  // what the message must hold
  const char* remedy;
};

TEST(AttentionConfig, DefaultsAreValidInEveryMode) {
  for (const AttentionMode mode : {AttentionMode::kDense, AttentionMode::kStreaming,
                                   AttentionMode::kPages, AttentionMode::kLServe}) {
    AttentionConfig config;
    config.mode = mode;
    EXPECT_TRUE(validate(config).ok()) << attention_mode_name(mode);
  }
  EXPECT_EQ(AttentionConfig{}.budget_pages(), 64);
  EXPECT_EQ(AttentionConfig{}.num_sink_pages(), 2);
  EXPECT_EQ(AttentionConfig{}.prefill_window().local_tokens, 256);
}

TEST(AttentionConfig, ModesAreStaticAndDynamicSparsity) {
  EXPECT_STREQ(attention_mode_name(AttentionMode::kLServe), "lserve");
  EXPECT_FALSE(has_streaming_heads(AttentionMode::kPages));
  EXPECT_FALSE(has_page_selection(AttentionMode::kStreaming));
  EXPECT_TRUE(has_streaming_heads(AttentionMode::kLServe));
  EXPECT_TRUE(has_page_selection(AttentionMode::kLServe));
}

TEST(AttentionConfig, EachLimitNamesItsFlagNumberAndRemedy) {
  constexpr int32_t kMax = std::numeric_limits<int32_t>::max();
  constexpr AttentionMode kPages = AttentionMode::kPages;
  const Case cases[] = {
      {{.sink_tokens = -1}, "--sink-tokens -1", "from 0 to"},
      {{.sink_tokens = kMax}, "--sink-tokens 2147483647", "from 0 to"},
      {{.local_tokens = 0}, "--local-tokens 0", "from 1 to"},
      {{.local_tokens = kMax}, "--local-tokens 2147483647", "from 1 to"},
      {{.prefill_local_tokens = -5}, "--prefill-local-tokens -5", "from 0 to"},
      {{.prefill_local_tokens = 255}, "--prefill-local-tokens 255", "--local-tokens 256"},
      {{.token_budget = 0}, "--token-budget 0", "from 64 to"},
      {{.token_budget = -64}, "--token-budget -64", "from 64 to"},
      {{.token_budget = kMax}, "--token-budget 2147483647", "from 64 to"},
      {{.token_budget = 4097}, "--token-budget 4097", "use 4160"},
      {{.mode = kPages, .token_budget = 256}, "--token-budget 256", "use 320 or more"},
      {{.mode = kPages, .sink_tokens = 129, .token_budget = 320},
       "--token-budget 320",
       "--sink-tokens 129"},
      {{.logical_page_size = 0}, "--logical-page-size 0", "16, 32 or 64"},
      {{.logical_page_size = 8}, "--logical-page-size 8", "16, 32 or 64"},
      {{.logical_page_size = 48}, "--logical-page-size 48", "16, 32 or 64"},
      {{.logical_page_size = 128}, "--logical-page-size 128", "16, 32 or 64"},
      {{.page_score = PageScore::kMeanStd, .key_stats = KeyStatsFormat::kInt8},
       "--key-stats-dtype int8",
       "use minmax"},
      {{.reuse_interval = 0}, "--reuse-interval 0", "from 1 to 64"},
      {{.reuse_interval = 65}, "--reuse-interval 65", "from 1 to 64"},
  };
  for (const Case& c : cases) {
    const Status status = validate(c.config);
    ASSERT_FALSE(status.ok()) << c.names;
    EXPECT_EQ(status.kind(), ErrorKind::kUsage);
    EXPECT_NE(status.message().find(c.names), std::string::npos) << status.message();
    EXPECT_NE(status.message().find(c.remedy), std::string::npos) << status.message();
    EXPECT_EQ(status.message().find('\n'), std::string::npos);
  }
}

TEST(AttentionConfig, TheLastLegalValuesPass) {
  constexpr AttentionMode kLServe = AttentionMode::kLServe;
  const AttentionConfig cases[] = {
      {.sink_tokens = 0, .local_tokens = 1},
      {.mode = kLServe, .sink_tokens = 0, .token_budget = 192},
      {.mode = kLServe, .sink_tokens = 1, .token_budget = 256},
      {.mode = kLServe, .sink_tokens = 128, .token_budget = 320},
      {.prefill_local_tokens = 256},
      {.prefill_local_tokens = 8192},
      {.logical_page_size = 64, .reuse_interval = 64},
      {.sink_tokens = 1 << 24, .local_tokens = 1 << 24, .token_budget = 1 << 24},
      // Without selection the budget is not used, so a long sink is no error.
      {.mode = AttentionMode::kStreaming, .sink_tokens = 8192, .token_budget = 64},
  };
  for (const AttentionConfig& config : cases) {
    const Status status = validate(config);
    EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.message());
  }
}

}  // namespace
}  // namespace lserve
