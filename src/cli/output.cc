#include "cli/output.h"

#include <cstdio>

namespace lserve {

void print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

Status finish_output() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    return runtime_error("standard output could not be written");
  }
  return {};
}

}  // namespace lserve
