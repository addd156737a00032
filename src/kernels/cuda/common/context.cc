#include "kernels/cuda/common/context.h"

#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/linear/gemm.h"
#include "tensor/cuda/device_memory.h"

namespace lserve::cuda {

Status Scratch::reserve(size_t bytes) {
  if (bytes <= memory_.bytes()) return {};
  CHECK(!queue_.sealed && "the step is larger than what Backend::reserve() was told");
  CHECK(!queue_.recording && "reserve() comes before the first graph");
  CHECK(!in_graph_ && "a graph holds the old address");
  memory_ = {};
  ASSIGN_OR_RETURN(memory_, allocate_device(bytes, queue_.stream));
  return {};
}

std::byte* Scratch::bytes(size_t bytes) {
  const Status reserved = reserve(bytes);
  if (!reserved.ok()) {
    fatal_device_error("Scratch::bytes", __FILE__, __LINE__, reserved.message().c_str());
  }
  in_graph_ = in_graph_ || queue_.recording;
  return memory_.as<std::byte>();
}

Status HostScratch::reserve(size_t bytes) {
  if (bytes <= memory_.bytes()) return {};
  CHECK(!queue_.sealed && "the step is larger than what Backend::reserve() was told");
  memory_ = {};
  ASSIGN_OR_RETURN(memory_, allocate_pinned(bytes));
  return {};
}

std::byte* HostScratch::bytes(size_t bytes) {
  const Status reserved = reserve(bytes);
  if (!reserved.ok()) {
    fatal_device_error("HostScratch::bytes", __FILE__, __LINE__, reserved.message().c_str());
  }
  return memory_.as<std::byte>();
}

Context::Context(int sms, int num_threads) : num_sms(sms), threads(num_threads) {
  CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  gemm = std::make_unique<Gemm>();
}

// Static backends (of tests) may outlive the CUDA runtime; whatever error there is comes too late.
Context::~Context() {
  static_cast<void>(cudaStreamSynchronize(stream));
  static_cast<void>(cudaStreamDestroy(stream));
}

Status Context::reserve(const ScratchSizes& sizes) {
  sealed = false;
  RETURN_IF_ERROR(expanded_pages.reserve(sizes.expanded_pages));
  RETURN_IF_ERROR(partials.reserve(sizes.partials));
  RETURN_IF_ERROR(arrivals.reserve(sizes.arrivals));
  RETURN_IF_ERROR(activations.reserve(sizes.activations));
  RETURN_IF_ERROR(gemm_workspace.reserve(sizes.gemm_workspace));
  RETURN_IF_ERROR(rounded.reserve(sizes.rounded));
  RETURN_IF_ERROR(draws.reserve(sizes.draws));
  RETURN_IF_ERROR(sampling_in.reserve(sizes.sampling_in));
  RETURN_IF_ERROR(sampling_out.reserve(sizes.sampling_out));
  sealed = true;
  return {};
}

int64_t Context::device_bytes(const ScratchSizes& sizes) {
  int64_t total = 0;
  for (const size_t bytes : {sizes.expanded_pages, sizes.partials, sizes.arrivals,
                             sizes.activations, sizes.gemm_workspace, sizes.rounded, sizes.draws}) {
    total += allocated_bytes(static_cast<int64_t>(bytes));
  }
  return total;
}

}  // namespace lserve::cuda
