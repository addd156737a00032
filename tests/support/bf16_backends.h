// Backends that round like a device: so that a host backend can be compared with it, or stand for
// it.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace lserve::testing {

// Every weight matrix becomes bf16 before `inner` loads it, whatever the file holds: as the cuda
// backend has it.
std::unique_ptr<Backend> make_bf16_weight_backend(std::unique_ptr<Backend> inner);

// The same, and activations are rounded to bf16 where the cuda backend rounds them: x of linear
// layers of many rows (not of the output head), and the scaled q of prefill attention. Not rounded,
// because that cannot be done from outside: the softmax's weights in prefill attention.
std::unique_ptr<Backend> make_bf16_activation_backend(std::unique_ptr<Backend> inner);

}  // namespace lserve::testing
