#include "base/log.h"

#include <atomic>
#include <cstdio>
#include <string>

namespace lserve {

namespace {
std::atomic<LogLevel> g_level = LogLevel::kInfo;

void print(std::string_view prefix, std::string_view line) {
  std::string text;
  text.append(prefix).append(line).append("\n");
  std::fwrite(text.data(), 1, text.size(), stderr);
}
}  // namespace

void set_log_level(LogLevel level) { g_level = level; }
LogLevel log_level() { return g_level; }

void log_info(std::string_view line) {
  if (g_level.load() >= LogLevel::kInfo) print("", line);
}
void log_verbose(std::string_view line) {
  if (g_level.load() >= LogLevel::kVerbose) print("", line);
}
void log_warning(std::string_view line) { print("warning: ", line); }

}  // namespace lserve
