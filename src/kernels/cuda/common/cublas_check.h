// CUBLAS_CHECK: as CUDA_CHECK, for calls of cuBLASLt. Included by sources only.
#pragma once

#include <cublasLt.h>

#include "kernels/cuda/common/cuda_check.h"

namespace lserve::cuda {

inline void cublas_check(cublasStatus_t status, const char* call, const char* file, int line) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    fatal_device_error(call, file, line, cublasLtGetStatusName(status));
  }
}

}  // namespace lserve::cuda

#define CUBLAS_CHECK(expression) \
  ::lserve::cuda::cublas_check((expression), #expression, __FILE__, __LINE__)
