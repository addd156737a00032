// The products of gemm.h where cuBLASLt refuses one that it promised: an element at a time, right
// and slow.
#pragma once

#include "kernels/cuda/linear/gemm.h"

namespace lserve::cuda {

void plain_product(const GemmArgs& args, CUstream_st* stream);

}  // namespace lserve::cuda
