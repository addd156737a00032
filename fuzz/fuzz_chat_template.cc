// A chat template as source, rendered for messages whose bytes are recognisable: limits hold, and a
// message's bytes are marked whatever the template does with them.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "tokenizer/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lserve;
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const auto chat_template = ChatTemplate::parse(source);
  if (!chat_template.ok()) {
    CHECK(chat_template.status().kind() == ErrorKind::kModel);
    return 0;
  }
  // U+E001, which has no other case; a source that has these bytes itself proves nothing.
  const std::string mark = "\xEE\x80\x81";
  const bool source_has_mark =
      source.find('\xEE') != std::string_view::npos || source.find('\\') != std::string_view::npos;
  const std::vector<ChatMessage> messages = {{"system", " " + mark}, {"user", mark + mark + " "}};
  ChatTemplateLimits limits;
  limits.max_steps = 20'000;
  limits.max_output_bytes = 1 << 16;
  const auto pieces = (*chat_template)->render(messages, size % 2 == 0, "<s>", "</s>", limits);
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
