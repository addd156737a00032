// SwiGLU's gate:  out[t] = silu(gate[t]) * up[t],   silu(z) = z / (1 + exp(-z))
#pragma once

#include "tensor/tensor.h"

namespace lserve {

struct SiluMulParams {
  TensorView gate;  // [num_tokens, intermediate]  f32
  TensorView up;    // [num_tokens, intermediate]  f32
  TensorView out;   // [num_tokens, intermediate]  f32; may be gate or up
};

}  // namespace lserve
