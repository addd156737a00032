// Models of a given shape with random weights, for measurements: "random:llama-3-8b".
//
// Every matrix is bf16, uniform, with the variance 1 / columns, so that a layer's output is of the
// size of its input; those that add to the residual stream are scaled down by sqrt(2 layers) more,
// so it stays finite at any depth. Norms are 1. The same name gives the same weights everywhere.
// There is no tokenizer.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "checkpoint/checkpoint.h"

namespace lserve {

inline constexpr std::string_view kRandomPrefix = "random:";

// Errors: kModel, no such shape; the message lists those that there are.
// REQUIRES: path begins with kRandomPrefix.
Result<std::unique_ptr<Checkpoint>> open_random_checkpoint(const std::string& path);

}  // namespace lserve
