#include "engine/prompt.h"

#include <utility>

namespace lserve {

Result<std::unique_ptr<PromptBuilder>> PromptBuilder::create(TokenizerData data) {
  auto builder = std::make_unique<PromptBuilder>();
  if (data.chat_template) {
    ASSIGN_OR_RETURN(builder->template_, ChatTemplate::parse(*data.chat_template));
  }
  ASSIGN_OR_RETURN(builder->tokenizer_, Tokenizer::create(std::move(data)));
  return builder;
}

std::vector<int32_t> PromptBuilder::raw(std::string_view text) const {
  return tokenizer_->encode_with_bos(text, SpecialTokens::kAsText);
}

Result<std::vector<int32_t>> PromptBuilder::chat(std::span<const ChatMessage> messages) const {
  const TokenizerData& data = tokenizer_->data();
  const auto text_of = [&](int32_t id) { return std::string(tokenizer_->token_bytes(id)); };
  const std::string bos = data.bos_token_id ? text_of(*data.bos_token_id) : "";
  const std::string eos = data.eos_token_ids.empty() ? "" : text_of(data.eos_token_ids.front());
  ASSIGN_OR_RETURN(const std::vector<PromptPiece> pieces,
                   template_->render(messages, true, bos, eos));
  std::vector<int32_t> ids;
  for (const PromptPiece& piece : pieces) {
    const auto part = tokenizer_->encode(
        piece.text, piece.from_message ? SpecialTokens::kAsText : SpecialTokens::kParse);
    ids.insert(ids.end(), part.begin(), part.end());
  }
  const bool needs_bos = data.add_bos && data.bos_token_id.has_value() &&
                         (ids.empty() || ids.front() != *data.bos_token_id);
  if (needs_bos) ids.insert(ids.begin(), *data.bos_token_id);
  return ids;
}

}  // namespace lserve
