#include "kernels/cuda/linear/few_launch.cuh"

namespace lserve::cuda {

template void launch_few<Bf16Format>(const FewArgs&, const FewLaunch&, const Queue&);

}  // namespace lserve::cuda
