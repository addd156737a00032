// Which of the instruction sets that were compiled in this machine can run.
#pragma once

#include "base/status.h"
#include "kernels/backend.h"
#include "kernels/cpu/cpu_kernels.h"

namespace lserve::cpu {

// The kernels for `isa`; kAuto: the best this machine has. kDevice if it lacks what was asked for.
Result<const CpuKernels*> choose_kernels(CpuIsa isa);

}  // namespace lserve::cpu
