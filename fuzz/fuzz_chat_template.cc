// A chat template with what it is given: the source, a line "@@@@", and JSON of messages, tools and
// variables. Without that line, or where the JSON is none, messages whose bytes are recognisable.
// Limits hold, and a user's bytes are marked whatever the template does with them.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/json.h"
#include "tokenizer/chat_template.h"

namespace lserve {
namespace {

constexpr std::string_view kSeparator = "\n@@@@\n";
// U+E001, which has no other case; a source that has these bytes itself proves nothing.
const std::string kMark = "\xEE\x80\x81";

// The object's member if it is of the wanted type.
void take(const Json& object, const char* name, bool (Json::*is)() const, Json& target) {
  if (const Json* value = object.find(name); value != nullptr && (value->*is)()) target = *value;
}

ChatInput input_of(std::string_view text) {
  ChatInput input;
  input.now = std::tm{};
  input.bos_token = "<s>";
  const Result<Json> json = Json::parse(text, "input", {.max_depth = 70, .max_elements = 10'000});
  if (!json.ok() || !json->is_object()) {
    const std::vector<ChatMessage> messages = {{"system", " " + kMark},
                                               {"user", kMark + kMark + " "}};
    input.messages = chat_messages(messages);
    return input;
  }
  Json messages = Json::array();
  take(*json, "messages", &Json::is_array, messages);
  for (const Json& message : messages.as_array()) {
    if (message.is_object()) input.messages.push_back(message);
  }
  take(*json, "tools", &Json::is_array, input.tools);
  take(*json, "documents", &Json::is_array, input.documents);
  take(*json, "variables", &Json::is_object, input.variables);
  return input;
}

}  // namespace
}  // namespace lserve

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lserve;
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const size_t separator = std::min(all.find(kSeparator), all.size());
  const std::string_view source = all.substr(0, separator);
  const auto chat_template = ChatTemplate::parse(source);
  if (!chat_template.ok()) {
    CHECK(chat_template.status().kind() == ErrorKind::kModel);
    return 0;
  }
  const bool source_has_mark =
      source.find('\xEE') != std::string_view::npos || source.find('\\') != std::string_view::npos;
  ChatInput input = input_of(all.substr(std::min(separator + kSeparator.size(), all.size())));
  input.add_generation_prompt = size % 2 == 0;
  ChatTemplateLimits limits;
  limits.max_steps = 20'000;
  limits.max_output_bytes = 1 << 16;
  const auto pieces = (*chat_template)->render(input, limits);
  if (!pieces.ok()) {
    // Of the two kinds, the model's fault is only what this interpreter does not do.
    const bool not_supported = pieces.status().message().ends_with("is not supported");
    const ErrorKind kind = pieces.status().kind();
    CHECK(kind == ErrorKind::kRuntime || (kind == ErrorKind::kModel && not_supported));
    return 0;
  }
  int64_t bytes = 0;
  for (const PromptPiece& piece : *pieces) {
    CHECK(!piece.text.empty());
    bytes += static_cast<int64_t>(piece.text.size());
    if (!piece.from_message && !source_has_mark) {
      CHECK(piece.text.find('\xEE') == std::string::npos);
    }
  }
  CHECK_LE(bytes, limits.max_output_bytes);
  return 0;
}
