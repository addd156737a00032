// Lines for the operator, on stderr; stdout carries only the product.
#pragma once

#include <string_view>

namespace lserve {

enum class LogLevel { kQuiet, kInfo, kVerbose };

// Process-wide, set once by the command line before any thread starts.
void set_log_level(LogLevel level);
LogLevel log_level();

void log_info(std::string_view line);
void log_verbose(std::string_view line);
// Warnings are shown at every level: "warning: ...".
void log_warning(std::string_view line);

}  // namespace lserve
