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

// Of what the norm writes for itself, no product reads more than the rows behind the last multiple
// of kInt8Rows.
void multiply_normed_codes(const NormLinearParams& params, ManyWay way, Context* context) {
  const RmsNormParams& norm = params.norm;
  const int64_t columns = norm.x.dim(1);
  const int64_t first = norm.x.dim(0) / kInt8Rows * kInt8Rows;
  if (way == ManyWay::kInt8 && first < norm.x.dim(0)) {
    RmsNormParams rest = norm;
    rest.x = {norm.x.as<float>() + first * columns, {norm.x.dim(0) - first, columns}};
    rest.out = {norm.out.as<float>() + first * columns, rest.x.shape};
    rms_norm(rest, context);
  }
  many_rows(params.linear, context, &norm);
}

void multiply_normed_bf16(const NormLinearParams& params, Context* context) {
  RmsNormParams norm = params.norm;
  norm.out = {static_cast<bf16*>(norm.out.data), norm.x.shape};
  rms_norm_bf16(norm, context);
  LinearParams linear = params.linear;
  linear.x = norm.out;
  if (params.gated && linear.outputs[0].out.dtype == DType::kBF16) {
    multiply_gated_bf16(linear, context);
  } else {
    many_rows(linear, context);
  }
}

}  // namespace

bool norm_many(const NormLinearParams& params, Context* context) {
  const LinearParams& linear = params.linear;
  check_linear(linear);
  const bool in_place = params.norm.out.data == params.norm.x.data;
  if (in_place || linear.precise || total_rank(linear.outputs) > 0) return false;
  const ManyWay way = many_way(linear.outputs[0], linear, context);
  for (const LinearOutput& output : linear.outputs) {
    if (many_way(output, linear, context) != way) return false;
  }
  if (way == ManyWay::kBF16) {
    multiply_normed_bf16(params, context);
  } else if (way != ManyWay::kFew && can_norm_codes(linear.x.dim(1))) {
    multiply_normed_codes(params, way, context);
  } else {
    return false;
  }
  const TensorView& gate = linear.outputs[0].out;
  if (params.gated && gate.dtype == DType::kF32) {
    silu_mul({gate, linear.outputs[1].out, gate}, context);
  }
  return true;
}

}  // namespace lserve::cuda
