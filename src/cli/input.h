// The text that a verb works on: PROMPT, -f FILE, standard input.
#pragma once

#include <string>

#include "base/status.h"
#include "cli/options.h"

namespace lserve {

// Whether the user gave any text: PROMPT, -f, or something piped into standard input.
bool has_input(const CommandLine& options);

// -f FILE's text, a blank line, PROMPT; each alone is exactly itself. Standard input is read only
// if neither is given, or with -f -. kUsage: nothing given, no such file, over 64 MiB.
Result<std::string> read_input(const CommandLine& options);

}  // namespace lserve
