// The backend of one NVIDIA GPU: sm_80 and newer, if the program holds code for it.
//
// Weights are bf16 in memory, whatever the file holds. One stream; nothing is allocated after the
// weights are loaded and reserve() was called.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace lserve {

// Threads are of the host, for loading. Without `graphs`, run_graph() just runs. kDevice
// (tensor/cuda/device_info.h), kMemory.
Result<std::unique_ptr<Backend>> make_cuda_backend(const BackendOptions& options);

}  // namespace lserve
