// Launches of few_rows.cuh, a file for each format: the heavy half of compiling it.
#pragma once

#include <cstdint>

#include "kernels/cuda/common/context.h"
#include "kernels/cuda/linear/few_config.h"

namespace lserve::cuda {

struct FewArgs;

struct FewLaunch {
  int64_t call_tokens = 0;  // of the whole call, for all its launches to be alike
  unsigned ctas = 0;        // for kTokenTiles tiles of x
  int64_t parts = 0;        // CTAs of them that leave part of a sum
  bool gated = false;
  int own_bytes = 0;  // of x that each CTA makes for itself; 0: x lies in memory, in its format
};
// Rows of x of a gated call, at the most.
inline constexpr int64_t kMostGatedRows = kTileTokens;

template <typename Format>
void launch_few(const FewArgs& args, const FewLaunch& launch, const Queue& queue);

}  // namespace lserve::cuda
