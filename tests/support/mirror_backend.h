// A device's backend behind host memory, so that tests written for host memory run on it unchanged.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace lserve::testing {

// Every operation copies all that its params point to into the inner backend's memory, with what
// the host holds there (poison in outputs and free pages too), runs it, and copies back what it may
// have written. allocate() gives host memory; weights are the inner backend's. Limits of a launch
// that a test left at 0 (DecodeAttentionParams::max_spans ...) are taken from the lists.
//
// Pools of more than kWholePoolBytes are too large to copy for each operation: of these only the
// pages on the lists are, and the others are zero.
inline constexpr int64_t kWholePoolBytes = int64_t{64} << 20;

std::shared_ptr<Backend> make_mirror_backend(std::unique_ptr<Backend> inner);

}  // namespace lserve::testing
