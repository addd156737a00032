// Linear layers that share an input:  out_i[t] (+)= W_i x[t] + bias_i
//
// Q, K and V (or gate and up) of one layer go in one call, so that x is read and quantised once. A
// row of the result depends on its own row of x only, bit for bit: never on how many rows come
// along. The cpu backend quantises x to int8 in blocks of kQuantBlock columns where W is
// block-quantised.
#pragma once

#include <span>

#include "kernels/weight.h"
#include "tensor/tensor.h"

namespace lserve {

struct LinearOutput {
  const Weight* weight = nullptr;  // [rows_i, columns]
  TensorView bias;                 // [rows_i]  f32, or data == nullptr
  TensorView out;                  // [num_tokens, rows_i]  f32; must not overlap x
  bool accumulate = false;         // add to out (the residual stream) instead of storing
};

struct LinearParams {
  TensorView x;                           // [num_tokens, columns]  f32
  std::span<const LinearOutput> outputs;  // at least one; the same columns in all
};

}  // namespace lserve
