#include "kernels/cuda/common/context.h"

#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/linear/gemm.h"
#include "tensor/cuda/device_memory.h"

namespace lserve::cuda {

Status Scratch::reserve(size_t bytes) {
  if (bytes <= memory_.bytes()) return {};
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

std::byte* HostScratch::bytes(size_t bytes) {
  if (bytes > memory_.bytes()) {
    memory_ = {};
    auto grown = allocate_pinned(bytes + bytes / 4);
    if (!grown.ok()) {
      fatal_device_error("HostScratch::bytes", __FILE__, __LINE__,
                         grown.status().message().c_str());
    }
    memory_ = std::move(grown).value();
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

}  // namespace lserve::cuda
