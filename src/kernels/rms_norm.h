// RMS norm (Zhang & Sennrich 2019):  out[t] = x[t] / sqrt(mean(x[t]^2) + epsilon) * weight
#pragma once

#include "tensor/tensor.h"

namespace lserve {

struct RmsNormParams {
  TensorView x;       // [num_tokens, hidden]  f32
  TensorView weight;  // [hidden]              f32
  TensorView out;     // [num_tokens, hidden]  f32; may be x
  float epsilon = 1e-5F;
};

}  // namespace lserve
