#include "checkpoint/head_pattern_file.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/memory_file.h"
#include "support/temp_directory.h"

namespace lserve {
namespace {

TEST(HeadPatternFile, ReadsGatesAndWindow) {
  const TempDirectory directory;
  const std::string tsv =
      directory.write("full_attention_heads.tsv", "1.0\t2.5e-1\n-0.5\t1.5\r\n\n0 1e-9\n");
  directory.write("config.json", R"({"sink_size": 128, "recent_size": 256, "threshold": 0.5})");
  for (const std::string& path : {directory.path(), tsv}) {
    const auto pattern = read_head_pattern(path);
    ASSERT_TRUE(pattern.ok()) << pattern.status().message();
    EXPECT_EQ(pattern->path, tsv);
    EXPECT_EQ(pattern->num_layers, 3);
    EXPECT_EQ(pattern->num_kv_heads, 2);
    EXPECT_EQ(pattern->gates, (std::vector<double>{1.0, 0.25, 0.0, 1.0, 0.0, 1e-9}));
    EXPECT_EQ(pattern->sink_tokens, 128);
    EXPECT_EQ(pattern->local_tokens, 256);
  }
}

TEST(HeadPatternFile, WindowIsOptional) {
  const TempDirectory directory;
  const std::string tsv = directory.write("gates.tsv", "0.5");
  const auto alone = read_head_pattern(tsv);
  ASSERT_TRUE(alone.ok()) << alone.status().message();
  EXPECT_FALSE(alone->sink_tokens.has_value());
  directory.write("config.json", R"({"architectures": ["LlamaForCausalLM"]})");
  const auto beside_a_model = read_head_pattern(tsv);
  ASSERT_TRUE(beside_a_model.ok()) << beside_a_model.status().message();
  EXPECT_FALSE(beside_a_model->local_tokens.has_value());
}

TEST(HeadPatternFile, RefusesBadGates) {
  const std::vector<std::pair<std::string, const char*>> cases = {
      {"", "no gates in it"},
      {"\n \t\n", "no gates in it"},
      {"1\t0\n1\n", "line 2 has 1 gates, the lines before it have 2"},
      {"1\t0\n1\t0\t1\n", "line 2 has 3 gates"},
      {"1\t0\n\n1\n", "line 3 has 1 gates"},
      {"1\tnan\n", "line 1: gate: \"nan\" is not a number"},
      {"1\t0\ninf\t0\n", "line 2: gate: \"inf\" is not a number"},
      {"1,0\n", "line 1: gate: \"1,0\" is not a number"},
      {"retrieval\n", "is not a number"},
      {"0x1\n", "is not a number"},
      {"1e999\n", "is not a number"},
      {std::string("1\0\n", 3), "is not a number"},
      {std::string(16 << 20, '\n'), "no gates in it"},
      {std::string((16 << 20) + 1, '\n'), "16,777,216 bytes"},
      {"version https://git-lfs.example/spec/v1\n", "Git-LFS pointer"},
  };
  MemoryFile file;  // some are large
  for (const auto& [text, expected] : cases) {
    const auto pattern = read_head_pattern(file.write(text));
    ASSERT_FALSE(pattern.ok()) << expected;
    EXPECT_EQ(pattern.status().kind(), ErrorKind::kModel);
    EXPECT_NE(pattern.status().message().find(expected), std::string::npos)
        << pattern.status().message();
  }
}

TEST(HeadPatternFile, RefusesABadWindow) {
  const std::vector<std::pair<std::string, const char*>> cases = {
      {"[]", "no JSON object"},
      {R"({"sink_size": -1})", "sink_size: -1 is out of range"},
      {R"({"sink_size": 16777217})", "sink_size: 16777217 is out of range (0 to 16777216)"},
      {R"({"recent_size": 0})", "recent_size: 0 is out of range (1 to 16777216)"},
      {R"({"recent_size": -256})", "recent_size: -256 is out of range"},
      {R"({"recent_size": 16777217})", "recent_size: 16777217 is out of range"},
      {R"({"sink_size": 1.5})", "sink_size: \"1.5\" is no integer"},
      {R"({"recent_size": "256"})", "recent_size"},
      {R"({"recent_size": 1, "recent_size": 2})", "duplicate key"},
  };
  const TempDirectory directory;
  directory.write("full_attention_heads.tsv", "1\t0\n");
  for (const auto& [text, expected] : cases) {
    directory.write("config.json", text);
    const auto pattern = read_head_pattern(directory.path());
    ASSERT_FALSE(pattern.ok()) << expected;
    EXPECT_EQ(pattern.status().kind(), ErrorKind::kModel);
    const std::string& message = pattern.status().message();
    EXPECT_NE(message.find(expected), std::string::npos) << message;
    EXPECT_TRUE(message.starts_with(directory.path() + "/config.json")) << message;
  }
}

TEST(HeadPatternFile, TheWindowMayGoToItsLimits) {
  const TempDirectory directory;
  directory.write("full_attention_heads.tsv", "1\t0\n");
  directory.write("config.json", R"({"sink_size": 0, "recent_size": 1})");
  EXPECT_EQ(read_head_pattern(directory.path())->local_tokens, 1);
  directory.write("config.json", R"({"sink_size": 16777216, "recent_size": 16777216})");
  EXPECT_EQ(read_head_pattern(directory.path())->sink_tokens, 16777216);
}

TEST(HeadPatternFile, MissingFileIsNamed) {
  const TempDirectory directory;
  const auto pattern = read_head_pattern(directory.path());
  ASSERT_FALSE(pattern.ok());
  EXPECT_NE(pattern.status().message().find("full_attention_heads.tsv"), std::string::npos);
}

}  // namespace
}  // namespace lserve
