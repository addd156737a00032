// The verbs: each reads its options, does its work, prints its product on stdout.
//
// A Status is what main.cc turns into one line on stderr and an exit code.
#pragma once

#include "base/status.h"
#include "cli/options.h"

namespace lserve {

Status run_verb(CommandLine& options);         // run.cc, chat.cc
Status info_verb(CommandLine& options);        // info.cc
Status tokenize_verb(CommandLine& options);    // tokenize.cc
Status quantize_verb(CommandLine& options);    // quantize_verb.cc
Status perplexity_verb(CommandLine& options);  // perplexity_verb.cc
Status latency_verb(CommandLine& options);     // latency_verb.cc
Status kernel_verb(CommandLine& options);      // kernel_verb.cc

}  // namespace lserve
