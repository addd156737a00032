// The backend of threads and SIMD: runs everywhere, and small models at a useful speed.
//
// Where to read on: linear_pack.h (how weights lie), linear.inl.h, prefill_attention.inl.h and
// decode_attention.inl.h (the kernels), simd_avx512.h (their vocabulary), linear.cc and
// attention.cc (how work is spread over threads).
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace lserve {

// num_threads 0: as many as the process may use. kDevice if this machine lacks `isa`; kUsage for a
// negative number of threads. Results do not depend on the number of threads.
Result<std::unique_ptr<Backend>> make_cpu_backend(int num_threads, CpuIsa isa);

}  // namespace lserve
