// Token embedding:  out[t] = table[token_ids[t]], dequantised.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/weight.h"
#include "tensor/tensor.h"

namespace lserve {

struct EmbedParams {
  const Weight* table = nullptr;       // [vocab_size, hidden]
  std::span<const int32_t> token_ids;  // [num_tokens]
  TensorView out;                      // [num_tokens, hidden]  f32
};
// REQUIRES: 0 <= token_ids[t] < vocab_size.

}  // namespace lserve
