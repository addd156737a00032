// The only file that names the private folders.
#include "kernels/backend.h"

#include "kernels/cpu/cpu_backend.h"
#include "kernels/reference/reference_backend.h"

namespace lserve {

Result<std::unique_ptr<Backend>> make_backend(const BackendOptions& options) {
  switch (options.kind) {
    case BackendKind::kReference:
      return make_reference_backend(options.num_threads);
    case BackendKind::kCpu:
      return make_cpu_backend(options.num_threads, options.isa);
  }
  return device_error("no such backend");
}

}  // namespace lserve
