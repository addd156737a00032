// From what the user wrote to the tokens that the model reads.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace lserve {

// What the operator says about chat prompts.
struct ChatSettings {
  std::optional<std::string> source;  // a template instead of the model's own
  Json variables;  // for every prompt: null, or what check_template_variables() accepts
};

// A tokenizer with the model's chat templates, if it has some: one, and perhaps another for
// conversations with tools.
class PromptBuilder {
 public:
  // Errors: kModel, settings.source cannot be parsed (the model's own may, until it is needed).
  static Result<std::unique_ptr<PromptBuilder>> create(TokenizerData data,
                                                       ChatSettings settings = {});

  const Tokenizer& tokenizer() const { return *tokenizer_; }
  bool has_chat_template() const { return has_template_; }

  // The text as it is, with BOS as the tokenizer says; control tokens in it stay text.
  std::vector<int32_t> raw(std::string_view text) const;
  // The conversation in the model's own form; the tokens of the input are the model's, variables
  // of the input win over the settings'. What the input contains never becomes a control token.
  // `context`: the most tokens that can be of use; a template may not print more than 4 times the
  // bytes that they and the input take. Errors: kModel, the template uses what is not supported
  // (the model still serves raw prompts); kRuntime, it fails. REQUIRES: has_chat_template().
  Result<std::vector<int32_t>> chat(ChatInput input, int64_t context) const;
  // As above, ready for the assistant's turn.
  Result<std::vector<int32_t>> chat(std::span<const ChatMessage> messages, int64_t context) const;

 private:
  // A template of the model's, or why there is none.
  struct Parsed {
    std::unique_ptr<ChatTemplate> value;
    Status error;
  };
  static Parsed parse(const std::string& source);

  std::unique_ptr<Tokenizer> tokenizer_;
  bool has_template_ = false;
  Parsed template_;
  std::optional<Parsed> tool_template_;
  Json variables_;
};

}  // namespace lserve
