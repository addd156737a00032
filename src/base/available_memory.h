// How much memory there is to plan with.
#pragma once

#include <cstdint>

namespace lserve {

// What this process may still allocate: the machine's available memory, cut by the limits of its
// control group, its address space and its data segment.
int64_t available_memory();

}  // namespace lserve
