#include "cli/input.h"

#include <unistd.h>

#include "base/file.h"

namespace lserve {

namespace {
constexpr uint64_t kMaxInputBytes = uint64_t{64} << 20;
}

bool has_input(const CommandLine& options) {
  return options.is_set("prompt") || options.is_set("file") || ::isatty(STDIN_FILENO) == 0;
}

Result<std::string> read_input(const CommandLine& options) {
  const std::string path = options.get_text("file");
  const std::string prompt = options.get_text("prompt");
  if (path.empty() && options.is_set("prompt")) return prompt;
  if (path.empty() && ::isatty(STDIN_FILENO) == 1) {
    return usage_error("no text: give PROMPT, -f FILE, or pipe it into standard input");
  }
  std::string text;
  if (path.empty() || path == "-") {
    ASSIGN_OR_RETURN(text, read_stdin(kMaxInputBytes));
  } else {
    ASSIGN_OR_RETURN(text, read_file(path, kMaxInputBytes, ErrorKind::kUsage));
  }
  if (!options.is_set("prompt")) return text;
  if (text.empty()) return prompt;
  // One blank line between the two, however the file ends.
  while (!text.ends_with("\n\n")) text += '\n';
  return text + prompt;
}

}  // namespace lserve
