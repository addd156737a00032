// From what the user wrote to the tokens that the model reads.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace lserve {

// A tokenizer with the model's chat template, if it has one.
class PromptBuilder {
 public:
  static Result<std::unique_ptr<PromptBuilder>> create(TokenizerData data);

  const Tokenizer& tokenizer() const { return *tokenizer_; }
  bool has_chat_template() const { return has_template_; }

  // The text as it is, with BOS as the tokenizer says; control tokens in it stay text.
  std::vector<int32_t> raw(std::string_view text) const;
  // The conversation in the model's own form, ready for the assistant's turn. What the messages
  // contain never becomes a control token. kModel if the template uses what is not
  // supported: the model still serves raw prompts. REQUIRES: has_chat_template().
  Result<std::vector<int32_t>> chat(std::span<const ChatMessage> messages) const;

 private:
  std::unique_ptr<Tokenizer> tokenizer_;
  bool has_template_ = false;
  std::unique_ptr<ChatTemplate> template_;  // null if it could not be parsed
  Status template_error_;
};

}  // namespace lserve
