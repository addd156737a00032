// Chat messages to the prompt that the model was trained on: a bounded interpreter of the Jinja subset
// that chat templates use. Templates are untrusted input.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace lserve {

struct ChatMessage {
  std::string role;     // "system", "user", "assistant"
  std::string content;
};

// The prompt as pieces, because what a user wrote must never become a control token.
struct PromptPiece {
  std::string text;
  bool from_message = false;  // encode with SpecialTokens::kAsText
};

struct ChatTemplateLimits {
  int64_t max_steps = 1'000'000;
  int max_depth = 64;
  int64_t max_output_bytes = 64 << 20;
};

class ChatTemplate {
 public:
  // Errors (kModel): syntax, with line; constructs that are not supported, by name.
  static Result<std::unique_ptr<ChatTemplate>> parse(std::string_view source);
  virtual ~ChatTemplate() = default;

  // Errors (kRuntime): raise_exception, a limit, an undefined operation.
  virtual Result<std::vector<PromptPiece>> render(std::span<const ChatMessage> messages,
                                                  bool add_generation_prompt,
                                                  std::string_view bos_token,
                                                  std::string_view eos_token,
                                                  const ChatTemplateLimits& limits = {}) const = 0;
};

}  // namespace lserve
