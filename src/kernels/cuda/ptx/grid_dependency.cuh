// What a kernel tells, and waits for, when it may start while the one before it on its stream still
// runs (sm_90; launched by common/dependent_launch.h). Elsewhere kernels follow each other whole,
// and both functions do nothing.
// PTX ISA: "griddepcontrol", in https://docs.nvidia.com/cuda/parallel-thread-execution/
#pragma once

namespace lserve::cuda::ptx {

// Returns when the kernels before are done and what they wrote is visible. Before this call a
// thread may read only what no kernel of the same graph writes, and may write nothing outside its
// CTA. All threads of the grid have to call it: whoever waits for this grid relies on that.
__device__ inline void wait_for_previous_grid() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// The next kernel may start once all CTAs have called this or ended.
__device__ inline void let_next_grid_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// What a kernel begins with that does nothing before it may read what the kernels before wrote: the
// launch itself is then over by the time they are done.
__device__ inline void start_after_previous_grid() {
  let_next_grid_start();
  wait_for_previous_grid();
}

}  // namespace lserve::cuda::ptx
