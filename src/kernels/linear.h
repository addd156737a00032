// Linear layers that share an input:  out_i[t] (+)= W_i x[t] + bias_i
//
// Q, K and V (or gate and up) of one layer go in one call, so that x is read and quantised once. A
// row of the result depends on its own row of x only, bit for bit: never on how many rows come
// along.
//
// Where W is block-quantised, the cpu backend quantises x: to 256 even steps from the least to the
// largest of kActivationBlock columns, or, if `precise`, to 32639 steps from -max |x| to max |x| of
// kQuantBlock columns.
#pragma once

#include <span>

#include "kernels/weight.h"
#include "tensor/tensor.h"

namespace lserve {

inline constexpr int64_t kActivationBlock = 16;

struct LinearOutput {
  const Weight* weight = nullptr;  // [rows_i, columns]
  TensorView bias;                 // [rows_i]  f32, or data == nullptr
  TensorView out;                  // [num_tokens, rows_i]  f32; must not overlap x
  bool accumulate = false;         // add to out (the residual stream) instead of storing
};

struct LinearParams {
  TensorView x;                           // [num_tokens, columns]  f32
  std::span<const LinearOutput> outputs;  // at least one; the same columns in all
  bool precise = false;  // for the output head, whose errors nothing behind it evens out
};

}  // namespace lserve
