// The kernels for avx512. Nothing else of the project may be included here: see cpu_kernels.h.
#include "kernels/cpu/simd_avx512.h"

#include "kernels/cpu/kernel_table.inl.h"

namespace lserve::cpu {

const CpuKernels& avx512_kernels() {
  static constexpr CpuKernels kTable = make_table();
  return kTable;
}

}  // namespace lserve::cpu
