// The only file that names the private folders.
#include "kernels/backend.h"

#include "kernels/cpu/cpu_backend.h"
#include "kernels/reference/reference_backend.h"

namespace lserve {

std::optional<CpuIsa> cpu_isa_by_name(std::string_view name) {
  if (name == "auto") return CpuIsa::kAuto;
  if (name == "generic") return CpuIsa::kGeneric;
  if (name == "avx2") return CpuIsa::kAvx2;
  if (name == "avx512") return CpuIsa::kAvx512;
  if (name == "avx512_bf16") return CpuIsa::kAvx512Bf16;
  return {};
}

bool built_with_cuda() {
#ifdef LSERVE_WITH_CUDA
  return true;
#else
  return false;
#endif
}

Result<std::unique_ptr<Backend>> make_backend(const BackendOptions& options) {
  switch (options.kind) {
    case BackendKind::kReference:
      return make_reference_backend(options.num_threads);
    case BackendKind::kCpu:
      return make_cpu_backend(options.num_threads, options.isa);
    case BackendKind::kCuda:
      return device_error("cuda: this lserve was built without CUDA; use --device cpu");
  }
  return device_error("no such backend");
}

}  // namespace lserve
