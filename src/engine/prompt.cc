#include "engine/prompt.h"

#include <utility>

namespace lserve {

Result<std::unique_ptr<PromptBuilder>> PromptBuilder::create(TokenizerData data) {
  auto builder = std::make_unique<PromptBuilder>();
  if (data.chat_template) {
    builder->has_template_ = true;
    auto parsed = ChatTemplate::parse(*data.chat_template);
    if (parsed.ok()) {
      builder->template_ = std::move(parsed).value();
    } else {
      builder->template_error_ = parsed.status();
    }
  }
  ASSIGN_OR_RETURN(builder->tokenizer_, Tokenizer::create(std::move(data)));
  return builder;
}

std::vector<int32_t> PromptBuilder::raw(std::string_view text) const {
  return tokenizer_->encode_with_bos(text, SpecialTokens::kAsText);
}

Result<std::vector<int32_t>> PromptBuilder::chat(std::span<const ChatMessage> messages) const {
  CHECK(has_template_);
  if (!template_error_.ok()) {
    return model_error(template_error_.message() + " (--raw does without the template)");
  }
  const TokenizerData& data = tokenizer_->data();
  const auto text_of = [&](int32_t id) { return std::string(tokenizer_->token_bytes(id)); };
  const std::string bos = data.bos_token_id ? text_of(*data.bos_token_id) : "";
  const std::string eos = data.eos_token_ids.empty() ? "" : text_of(data.eos_token_ids.front());
  ASSIGN_OR_RETURN(const std::vector<PromptPiece> pieces,
                   template_->render(messages, true, bos, eos));
  return tokenizer_->encode_with_bos(pieces);
}

}  // namespace lserve
