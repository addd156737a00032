// launch_few(), for the files that instantiate it.
#pragma once

#include <algorithm>

#include "base/check.h"
#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/common/dependent_launch.h"
#include "kernels/cuda/linear/few_launch.h"
#include "kernels/cuda/linear/few_rows.cuh"
#include "kernels/cuda/linear/linear_kernels.h"

namespace lserve::cuda {

template <typename Format, int kTokenTiles, bool kOwn, bool kGated>
void launch_tiles(const FewArgs& args, const FewLaunch& launch, const Queue& queue) {
  constexpr auto kKernel = few_rows_kernel<Format, kTokenTiles, kOwn, kGated>;
  constexpr int kMostBytes = kFewSharedBytes<Format> + (kOwn ? kMostOwnBytes : 0);
  static_assert(kMostBytes <= 99 * 1024, "sm_86 has no more for a CTA");
  static const bool starts_early = [] {
    CUDA_CHECK(
        cudaFuncSetAttribute(kKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kMostBytes));
    CUDA_CHECK(cudaFuncSetAttribute(kKernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                    cudaSharedmemCarveoutMaxShared));
    return can_start_early(kKernel);
  }();
  constexpr int kTokens = kTokenTiles * kTileTokens;
  const auto slices = static_cast<unsigned>((args.num_tokens + kTokens - 1) / kTokens);
  CHECK_LE(launch.parts * slices, kMaxParts);
  const auto bytes = static_cast<size_t>(kFewSharedBytes<Format> + launch.own_bytes);
  const LaunchShape shape{dim3(slices, launch.ctas), dim3(kFewThreads), bytes};
  launch_dependent(kKernel, shape, starts_early, queue, args);
}

template <typename Format>
void launch_few(const FewArgs& args, const FewLaunch& launch, const Queue& queue) {
  const int64_t tokens = launch.call_tokens;
  if (launch.own_bytes > 0) {
    CHECK_LE(tokens, int64_t{kMostOwnRows});
    return launch.gated ? launch_tiles<Format, 1, true, true>(args, launch, queue)
                        : launch_tiles<Format, 1, true, false>(args, launch, queue);
  }
  if (launch.gated) {
    CHECK_LE(tokens, kMostGatedRows);
    return launch_tiles<Format, 1, false, true>(args, launch, queue);
  }
  if (tokens <= kTileTokens) {
    launch_tiles<Format, 1, false, false>(args, launch, queue);
  } else if (tokens <= 2 * kTileTokens || Format::kMostTiles == 2) {
    launch_tiles<Format, 2, false, false>(args, launch, queue);
  } else {
    launch_tiles<Format, Format::kMostTiles, false, false>(args, launch, queue);
  }
}

}  // namespace lserve::cuda
