// norm_linear() of many rows: products that read x as bf16 anyway get it from the norm so, and
// those of a gate leave their results in bf16 where the caller takes them.
#include <array>

#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/linear/linear_kernels.h"
#include "kernels/cuda/linear/many_rows.h"
#include "kernels/cuda/rms_norm/rms_norm_bf16.h"
#include "kernels/cuda/silu_mul/silu_mul_bf16.h"

namespace lserve::cuda {

namespace {

void multiply_gated_bf16(const LinearParams& params, Context* context) {
  const TensorView& gate = params.outputs[0].out;
  std::array<LinearOutput, 2> outputs = {params.outputs[0], params.outputs[1]};
  outputs[1].out = {static_cast<bf16*>(outputs[1].out.data), gate.shape};
  LinearParams rounded = params;
  rounded.outputs = outputs;
  many_rows(rounded, context);
  silu_mul_bf16({gate, outputs[1].out, gate}, context);
}

}  // namespace

bool norm_many(const NormLinearParams& params, Context* context) {
  check_linear(params.linear);
  const bool in_place = params.norm.out.data == params.norm.x.data;
  if (in_place || params.linear.precise || total_rank(params.linear.outputs) > 0) return false;
  for (const LinearOutput& output : params.linear.outputs) {
    if (many_way(output, params.linear, context) != ManyWay::kBF16) return false;
  }
  RmsNormParams norm = params.norm;
  norm.out = {static_cast<bf16*>(norm.out.data), norm.x.shape};
  rms_norm_bf16(norm, context);
  LinearParams linear = params.linear;
  linear.x = norm.out;
  const TensorView& first = linear.outputs[0].out;
  if (params.gated && first.dtype == DType::kBF16) {
    multiply_gated_bf16(linear, context);
    return true;
  }
  many_rows(linear, context);
  if (params.gated) silu_mul({first, linear.outputs[1].out, first}, context);
  return true;
}

}  // namespace lserve::cuda
