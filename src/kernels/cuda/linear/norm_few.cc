// norm_linear() of few rows: where a launch can have norm and gate inside, it has.
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/linear/few_launch.h"
#include "kernels/cuda/linear/linear_kernels.h"

namespace lserve::cuda {

bool norm_few(const NormLinearParams& params, Context* context) {
  const LinearParams& linear = params.linear;
  check_linear(linear);
  if (linear.outputs.size() > size_t{kMaxFewOutputs} || total_rank(linear.outputs) > 0)
    return false;
  FewRowsOutput outputs[kMaxFewOutputs];
  for (size_t i = 0; i < linear.outputs.size(); ++i) {
    if (linear.outputs[i].weight->format != linear.outputs[0].weight->format) return false;
    outputs[i] = few_rows_output(linear.outputs[i]);
  }
  FewRowsParams few{.x = params.norm.x.as<float>(),
                    .x_stride = linear.x.dim(1),
                    .num_tokens = linear.x.dim(0),
                    .outputs = {outputs, linear.outputs.size()},
                    .norm = params.norm.weight.as<float>(),
                    .epsilon = params.norm.epsilon,
                    .gated = params.gated,
                    .largest = params.largest.as<float>()};
  if (!can_norm_few_rows(few)) {
    if (!params.gated || !can_gate_few_rows(few)) return false;
    rms_norm(params.norm, context);
    few.x = linear.x.as<float>();
    few.norm = nullptr;
  }
  few_rows(few, context);
  return true;
}

}  // namespace lserve::cuda
