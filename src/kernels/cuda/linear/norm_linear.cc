// norm_linear(): which launches it consists of. Contract: kernels/linear.h.
#include "base/check.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/linear/linear_kernels.h"
#include "kernels/cuda/linear/many_rows.h"

namespace lserve::cuda {

bool norm_linear(const NormLinearParams& params, Context* context) {
  check_norm_linear(params);
  if (params.linear.x.dim(0) == 0) return true;
  if (params.linear.rows == RowCount::kFew) return norm_few(params, context);
  return norm_many(params, context);
}

bool writes_largest(const NormLinearParams& params) {
  return params.gated && params.linear.rows == RowCount::kFew && params.largest.data != nullptr;
}

}  // namespace lserve::cuda
