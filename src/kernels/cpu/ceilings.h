// What the host can do at most, on all threads of a pool. Contract: kernels/ceilings.h.
#pragma once

#include "base/thread_pool.h"
#include "kernels/ceilings.h"

namespace lserve::cpu {

// The best of a few runs each. Arithmetic is vectors of numbers that lie in registers: vpdpbusd for
// int8, vdpbf16ps for bf16, fused multiply-add in the widest vectors there are for fp32; 0 where
// the machine has none. Takes about a second; a quarter of it for the memory alone. Nothing is said
// of memory where 256 MiB cannot be had.
Ceilings measure_ceilings(CeilingParts parts, ThreadPool* pool);

}  // namespace lserve::cpu
