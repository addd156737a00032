#include "kernels/cpu/cpu_features.h"

#include "base/strings.h"

namespace lserve::cpu {

namespace {

// The built-ins also ask whether the system saves the wide registers.
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c");
}

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni");
}

bool has_avx512_bf16() { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }

const CpuKernels& best_kernels() {
  return has_avx512_bf16() ? avx512_bf16_kernels()
         : has_avx512()    ? avx512_kernels()
         : has_avx2()      ? avx2_kernels()
                           : generic_kernels();
}

Status lacks(const char* isa, const char* features) {
  return device_error(cat("this machine has no ", isa, " (", features,
                          "); use --cpu-isa auto, which takes ", best_kernels().name, " here"));
}

}  // namespace

Result<const CpuKernels*> choose_kernels(CpuIsa isa) {
  switch (isa) {
    case CpuIsa::kAuto:
      return &best_kernels();
    case CpuIsa::kGeneric:
      return &generic_kernels();
    case CpuIsa::kAvx2:
      if (!has_avx2()) return lacks("avx2", "avx2, fma and f16c");
      return &avx2_kernels();
    case CpuIsa::kAvx512:
      if (!has_avx512()) return lacks("avx512", "f, bw, dq, vl and vnni");
      return &avx512_kernels();
    case CpuIsa::kAvx512Bf16:
      if (!has_avx512_bf16()) return lacks("avx512_bf16", "f, bw, dq, vl, vnni and bf16");
      return &avx512_bf16_kernels();
  }
  return device_error("no such instruction set; use --cpu-isa auto");
}

}  // namespace lserve::cpu
