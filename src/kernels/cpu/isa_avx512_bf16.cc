// The kernels for avx512 with the bf16 dot product. Nothing else of the project may be included
// here: see cpu_kernels.h.
#include "kernels/cpu/simd_avx512.h"

#include "kernels/cpu/kernel_table.inl.h"

namespace lserve::cpu {

const CpuKernels& avx512_bf16_kernels() {
  static constexpr CpuKernels kTable = make_table();
  return kTable;
}

}  // namespace lserve::cpu
