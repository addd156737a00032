// Rotary position embedding, rotate-half form, in place, for the heads of q and of k:
//   x[c], x[c + D/2]  <-  x[c] cos_c - x[c + D/2] sin_c,   x[c + D/2] cos_c + x[c] sin_c     c <
//   D/2
#pragma once

#include "tensor/tensor.h"

namespace lserve {

struct RopeParams {
  TensorView q;        // [num_tokens, num_q_heads, head_dim]   f32, in place
  TensorView k;        // [num_tokens, num_kv_heads, head_dim]  f32, in place
  TensorView cos_sin;  // [num_tokens, 2, head_dim / 2]  f32: the cosines of a token, then its sines
};

}  // namespace lserve
