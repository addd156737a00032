// Chat messages to the prompt that the model was trained on: a bounded interpreter of the Jinja
// that chat templates use (jinja_parser.h lists it). Templates are untrusted input.
//
// Results are those of transformers' renderer: jinja2's immutable sandbox with trim_blocks,
// lstrip_blocks, loop controls and {% generation %}.
#pragma once

#include <ctime>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "tokenizer/prompt_piece.h"

namespace lserve {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

// What a template is given. Every byte of messages, tools, documents and variables, keys included,
// counts as written by a user.
struct ChatInput {
  Json messages = Json::array();  // objects: role, content, and what else the template knows
  Json tools;                     // an array, or null
  Json documents;                 // an array, or null
  Json variables;                 // an object of further variables (enable_thinking, ...), or null
  bool add_generation_prompt = true;
  std::string bos_token, eos_token;  // empty: the model has none, and the variable is undefined
  std::optional<std::tm> now;        // for strftime_now; none: the local time
};

// [{"role": ..., "content": ...}, ...].
Json chat_messages(std::span<const ChatMessage> messages);

// Whether `variables` may be passed to a template: an object of at most 64 scalars with ordinary
// names, none of which is one of ChatInput's own. Errors: kUsage, beginning with `what`.
Status check_template_variables(const Json& variables, std::string_view what);

// `max_depth` bounds the nesting of macro calls; the nodes and statements within them may be nested
// 8 times as deep.
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

  // Thread-safe. Every byte that came from the input is in a piece marked so, wherever the template
  // moved it. Errors: kModel for an operation that is not supported, too many steps or levels, and
  // kRuntime for raise_exception, too much text, an undefined value.
  // ENSURES: no piece is empty; neighbours differ in from_message; at most
  // limits.max_output_bytes in all. REQUIRES: the types that ChatInput names.
  virtual Result<std::vector<PromptPiece>> render(const ChatInput& input,
                                                  const ChatTemplateLimits& limits = {}) const = 0;
};

}  // namespace lserve
