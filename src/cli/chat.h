// A conversation on a terminal.
#pragma once

#include "base/status.h"
#include "cli/options.h"
#include "engine/generate.h"
#include "engine/prompt.h"

namespace lserve {

// Reads lines until the end of input or /exit. /clear forgets the conversation, /tokens counts it.
// Ctrl-C stops an answer; at the prompt it ends the program. A model without a chat template
// continues the text.
Status chat(const CommandLine& options, Engine& engine, const PromptBuilder& builder);

// Everything of a request but its prompt (run.cc).
Request request_options(const CommandLine& options);

}  // namespace lserve
