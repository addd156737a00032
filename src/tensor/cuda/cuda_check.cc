#include "tensor/cuda/cuda_check.h"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace lserve::cuda {

void fatal_device_error(const char* call, const char* file, int line, const char* error) {
  const char* slash = std::strrchr(file, '/');
  std::fprintf(stderr, "error[runtime]: the device failed: %s (%s:%d): %s\n", call,
               slash == nullptr ? file : slash + 1, line, error);
  std::fflush(stderr);
  std::_Exit(kFaultExitCode);
}

void fatal_cuda_error(const char* call, const char* file, int line, cudaError_t error) {
  std::array<char, 256> text{};
  std::snprintf(text.data(), text.size(), "%s, %s", cudaGetErrorName(error),
                cudaGetErrorString(error));
  fatal_device_error(call, file, line, text.data());
}

}  // namespace lserve::cuda
