#include "tensor/cuda/cuda_check.h"

#include <cstdio>
#include <cstdlib>

namespace lserve::cuda {

void fatal_device_error(const char* call, const char* file, int line, const char* error) {
  std::fprintf(stderr, "lserve: the device failed: %s (%s:%d): %s\n", call, file, line, error);
  std::fflush(stderr);
  std::_Exit(kDeviceExitCode);
}

}  // namespace lserve::cuda
