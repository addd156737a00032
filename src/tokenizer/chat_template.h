// Chat messages to the prompt that the model was trained on: a bounded interpreter of the Jinja
// subset that chat templates use (jinja_parser.h lists it). Templates are untrusted input.
//
// Results are those of transformers' renderer (jinja2 with trim_blocks and lstrip_blocks). A
// template sees messages, add_generation_prompt, bos_token, eos_token, and tools and documents as
// none.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tokenizer/prompt_piece.h"

namespace lserve {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
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

  // Thread-safe. Every byte that came from a message's role or content is in a piece marked so,
  // wherever the template moved it. Errors: kModel, an operation that is not supported; kRuntime,
  // raise_exception, a limit, an undefined value.
  // ENSURES: no piece is empty; neighbours differ in from_message; at most
  // limits.max_output_bytes in all.
  virtual Result<std::vector<PromptPiece>> render(std::span<const ChatMessage> messages,
                                                  bool add_generation_prompt,
                                                  std::string_view bos_token,
                                                  std::string_view eos_token,
                                                  const ChatTemplateLimits& limits = {}) const = 0;
};

}  // namespace lserve
