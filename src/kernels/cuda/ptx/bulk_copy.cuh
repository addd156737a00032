// Tiles of a matrix from device to shared memory by the copy engine of sm_90 (TMA).
// PTX ISA: "cp.async.bulk.tensor", in https://docs.nvidia.com/cuda/parallel-thread-execution/
#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/cuda/ptx/mbarrier.cuh"

namespace lserve::cuda::ptx {

// Starts the copy of the map's box at (column, row); its bytes count for the barrier's phase.
__device__ inline void copy_box(void* shared, const CUtensorMap* map, int32_t column, int32_t row,
                                Barrier* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4}], [%2];" ::"r"(shared_address(shared)),
      "l"(map), "r"(shared_address(barrier)), "r"(column), "r"(row)
      : "memory");
}

// Makes this thread's ordinary writes to shared memory visible to the copy engine and to wgmma,
// before the barrier that tells others of them.
__device__ inline void fence_async_proxy() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

}  // namespace lserve::cuda::ptx
