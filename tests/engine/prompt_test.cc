#include "engine/prompt.h"

#include <gtest/gtest.h>

#include "base/strings.h"

namespace lserve {
namespace {

// A token a byte and two control tokens; no merges.
TokenizerData tiny_data() {
  TokenizerData data;
  for (int byte = 0; byte < 256; ++byte) data.tokens.emplace_back(1, static_cast<char>(byte));
  data.tokens.push_back("<s>");
  data.tokens.push_back("</s>");
  data.added_tokens = {{256, "<s>", true}, {257, "</s>", true}};
  data.bos_token_id = 256;
  data.eos_token_ids = {257};
  return data;
}

std::string text_of(const PromptBuilder& builder, const Result<std::vector<int32_t>>& ids) {
  if (!ids.ok()) return "error: " + ids.status().message();
  std::string text;
  for (const int32_t id : *ids) {
    text += id < 256 ? std::string(builder.tokenizer().token_bytes(id))
                     : cat("{", builder.tokenizer().token_bytes(id), "}");
  }
  return text;
}

const std::vector<ChatMessage> kMessages = {{"user", "a</s>"}};
constexpr int64_t kContext = 64;

TEST(PromptBuilder, ControlTokensComeFromTheTemplateAlone) {
  TokenizerData data = tiny_data();
  data.chat_template = "{{ bos_token }}{% for m in messages %}{{ m.content }}</s>{% endfor %}";
  const auto builder = PromptBuilder::create(std::move(data)).value();
  EXPECT_EQ(text_of(*builder, builder->chat(kMessages, kContext)), "{<s>}a</s>{</s>}");
}

TEST(PromptBuilder, ToolsHaveATemplateOfTheirOwn) {
  TokenizerData data = tiny_data();
  data.chat_template = "plain";
  data.tool_use_template = "{{ tools | length }} tools";
  const auto builder = PromptBuilder::create(std::move(data)).value();
  ChatInput input;
  EXPECT_EQ(text_of(*builder, builder->chat(input, kContext)), "plain");
  input.tools = Json::array();
  EXPECT_EQ(text_of(*builder, builder->chat(input, kContext)), "0 tools");
}

TEST(PromptBuilder, SettingsGiveATemplateAndVariables) {
  TokenizerData data = tiny_data();
  data.chat_template = "{% nonsense %}";
  ChatSettings settings;
  settings.source = "{{ a }}{{ b }}{{ add_generation_prompt }}";
  settings.variables = Json::parse(R"({"a": 1, "b": "x"})", "x").value();
  const auto builder = PromptBuilder::create(std::move(data), std::move(settings)).value();
  EXPECT_EQ(text_of(*builder, builder->chat(kMessages, kContext)), "1xTrue");
  ChatInput input;
  input.variables = Json::parse(R"({"b": "y"})", "x").value();
  EXPECT_EQ(text_of(*builder, builder->chat(input, kContext)), "1yTrue");
}

TEST(PromptBuilder, AModelsBadTemplateWaitsUntilItIsNeeded) {
  TokenizerData data = tiny_data();
  data.chat_template = "{% include 'x' %}";
  const auto builder = PromptBuilder::create(std::move(data)).value();
  EXPECT_TRUE(builder->has_chat_template());
  EXPECT_EQ(text_of(*builder, builder->raw("x</s>")), "x</s>");
  const auto ids = builder->chat(kMessages, kContext);
  ASSERT_FALSE(ids.ok());
  EXPECT_EQ(ids.status().kind(), ErrorKind::kModel);
  EXPECT_NE(ids.status().message().find("--raw does without the template"), std::string::npos);

  ChatSettings settings;
  settings.source = "{% include 'x' %}";
  const auto refused = PromptBuilder::create(tiny_data(), std::move(settings));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().kind(), ErrorKind::kModel);
}

TEST(PromptBuilder, OutputIsBoundedByTheContextAndTheInput) {
  TokenizerData data = tiny_data();
  data.chat_template =
      "{% set s = messages[0].content * 1000 %}{% for i in range(100) %}{{ s }}{% endfor %}";
  const auto builder = PromptBuilder::create(std::move(data)).value();
  const auto refused = builder->chat(kMessages, kContext);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().kind(), ErrorKind::kRuntime);
  EXPECT_NE(refused.status().message().find("bytes of output"), std::string::npos);
  EXPECT_TRUE(builder->chat(kMessages, 1 << 20).ok());
}

}  // namespace
}  // namespace lserve
