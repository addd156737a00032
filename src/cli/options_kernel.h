// From options to the cases that `lserve bench kernel` measures.
#pragma once

#include <vector>

#include "base/status.h"
#include "cli/options.h"
#include "evaluation/kernel_bench/kernel_case.h"

namespace lserve {

// Every combination of what an operation depends on, operation after operation; what it does not
// depend on is left alone.
// REQUIRES: the options of Verb::kBenchKernel.
std::vector<KernelCase> kernel_cases(const CommandLine& options);

}  // namespace lserve
