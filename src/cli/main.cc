// lserve: the one binary. Dispatches verbs and maps errors to exit codes (system.md 9):
//   0 ok, 1 run-time error, 2 usage, 3 model file, 4 memory, 5 device, 130 Ctrl-C
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "base/log.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "cli/version.h"

namespace lserve {
namespace {

int exit_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kRuntime:
      return 1;
    case ErrorKind::kUsage:
      return 2;
    case ErrorKind::kModel:
      return 3;
    case ErrorKind::kMemory:
      return 4;
    case ErrorKind::kDevice:
      return 5;
    case ErrorKind::kInterrupted:
      return kInterruptedExit;
  }
  return 1;
}

const char* kind_name(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kRuntime:
      return "runtime";
    case ErrorKind::kUsage:
      return "usage";
    case ErrorKind::kModel:
      return "model";
    case ErrorKind::kMemory:
      return "memory";
    case ErrorKind::kDevice:
      return "device";
    case ErrorKind::kInterrupted:
      return "interrupted";
  }
  return "?";
}

Status dispatch(CommandLine& options) {
  if (options.version()) {
    print(version_line() + "\n");
    return {};
  }
  if (options.help() != HelpKind::kNone || options.verb() == Verb::kNone) {
    print(help_text(options.verb(), options.help()));
    return {};
  }
  if (options.get_flag("verbose")) set_log_level(LogLevel::kVerbose);
  if (options.get_flag("quiet")) set_log_level(LogLevel::kQuiet);
  if (options.get_flag("dump-config")) {
    print(options.dump_config());
    return {};
  }
  switch (options.verb()) {
    case Verb::kRun:
      return run_verb(options);
    case Verb::kInfo:
      return info_verb(options);
    case Verb::kTokenize:
      return tokenize_verb(options);
    case Verb::kQuantize:
      return quantize_verb(options);
    case Verb::kEvalPerplexity:
      return perplexity_verb(options);
    case Verb::kBenchLatency:
      return latency_verb(options);
    case Verb::kBenchKernel:
      return kernel_verb(options);
    case Verb::kNone:
      break;
  }
  return {};
}

Status parse_and_dispatch(const std::vector<std::string>& args) {
  ASSIGN_OR_RETURN(CommandLine options, CommandLine::parse(args, [](const std::string& name) {
                     return std::getenv(name.c_str());
                   }));
  RETURN_IF_ERROR(dispatch(options));
  return finish_output();
}

// The library throws nothing of its own; the standard library does when memory runs out.
Status lserve_main(const std::vector<std::string>& args) {
  try {
    return parse_and_dispatch(args);
  } catch (const std::bad_alloc&) {
    return memory_error("out of memory; use a smaller --max-model-len or --kv-cache-dtype int8");
  } catch (const std::exception& e) {
    return runtime_error(e.what());
  }
}

}  // namespace
}  // namespace lserve

int main(int argc, char** argv) {
  lserve::handle_interrupts();
  const lserve::Status status = lserve::lserve_main({argv + 1, argv + argc});
  if (status.ok()) return 0;
  if (status.kind() != lserve::ErrorKind::kInterrupted) {
    std::fprintf(stderr, "error[%s]: %s\n", lserve::kind_name(status.kind()),
                 status.message().c_str());
  }
  return lserve::exit_code(status.kind());
}
