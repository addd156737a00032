#include "engine/prompt.h"

#include <utility>

namespace lserve {

namespace {

constexpr int64_t kBytesPerToken = 4;
constexpr int64_t kOutputPerInput = 4;
constexpr int64_t kOwnBytes = 64 << 10;  // what templates print around a short conversation

int64_t text_bytes(const Json& json) {
  int64_t bytes = 0;
  if (json.is_string()) return static_cast<int64_t>(json.as_string().size());
  if (json.is_array()) {
    for (const Json& element : json.as_array()) bytes += text_bytes(element);
  }
  if (json.is_object()) {
    for (const auto& [key, value] : json.as_object()) {
      bytes += static_cast<int64_t>(key.size()) + text_bytes(value);
    }
  }
  return bytes;
}

}  // namespace

PromptBuilder::Parsed PromptBuilder::parse(const std::string& source) {
  Parsed parsed;
  auto result = ChatTemplate::parse(source);
  if (result.ok()) {
    parsed.value = std::move(result).value();
  } else {
    parsed.error = result.status();
  }
  return parsed;
}

Result<std::unique_ptr<PromptBuilder>> PromptBuilder::create(TokenizerData data,
                                                             ChatSettings settings) {
  auto builder = std::make_unique<PromptBuilder>();
  builder->variables_ = std::move(settings.variables);
  if (settings.source) {
    builder->has_template_ = true;
    builder->template_ = parse(*settings.source);
    RETURN_IF_ERROR(builder->template_.error);
  } else if (data.chat_template) {
    builder->has_template_ = true;
    builder->template_ = parse(*data.chat_template);
    if (data.tool_use_template) builder->tool_template_ = parse(*data.tool_use_template);
  }
  ASSIGN_OR_RETURN(builder->tokenizer_, Tokenizer::create(std::move(data)));
  return builder;
}

std::vector<int32_t> PromptBuilder::raw(std::string_view text) const {
  return tokenizer_->encode_with_bos(text, SpecialTokens::kAsText);
}

Result<std::vector<int32_t>> PromptBuilder::chat(ChatInput input, int64_t context) const {
  CHECK(has_template_);
  const Parsed& parsed = tool_template_ && !input.tools.is_null() ? *tool_template_ : template_;
  if (!parsed.error.ok()) {
    return model_error(parsed.error.message() + " (--raw does without the template)");
  }
  const TokenizerData& data = tokenizer_->data();
  const auto text_of = [&](int32_t id) { return std::string(tokenizer_->token_bytes(id)); };
  if (data.bos_token_id) input.bos_token = text_of(*data.bos_token_id);
  if (!data.eos_token_ids.empty()) input.eos_token = text_of(data.eos_token_ids.front());
  if (input.variables.is_null()) input.variables = Json::object();
  if (variables_.is_object()) {
    for (const auto& [name, value] : variables_.as_object()) {
      if (input.variables.find(name) == nullptr) input.variables.set(name, value);
    }
  }
  ChatTemplateLimits limits;
  limits.max_output_bytes =
      kOwnBytes + kOutputPerInput * (context * kBytesPerToken + text_bytes(input.messages) +
                                     text_bytes(input.tools) + text_bytes(input.documents));
  ASSIGN_OR_RETURN(const std::vector<PromptPiece> pieces, parsed.value->render(input, limits));
  return tokenizer_->encode_with_bos(pieces);
}

Result<std::vector<int32_t>> PromptBuilder::chat(std::span<const ChatMessage> messages,
                                                 int64_t context) const {
  ChatInput input;
  input.messages = chat_messages(messages);
  return chat(std::move(input), context);
}

}  // namespace lserve
