#include "cli/output.h"

#include <cstdio>

namespace lserve {

bool print(std::string_view text) {
  return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() &&
         std::fflush(stdout) == 0;
}

Status finish_output() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    return runtime_error("standard output could not be written");
  }
  return {};
}

}  // namespace lserve
