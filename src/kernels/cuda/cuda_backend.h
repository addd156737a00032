// The backend of one NVIDIA GPU: sm_80 and newer, if the program holds code for it.
//
// Weights are bf16 in memory, whatever the file holds. One stream; nothing is allocated after the
// weights are loaded and reserve() was called.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace lserve {

// num_threads: of the host, for loading and sampling; 0: as many as the process may use. Without
// `graphs`, run_graph() just runs. kDevice (tensor/cuda/device_info.h), kMemory.
Result<std::unique_ptr<Backend>> make_cuda_backend(int num_threads, bool graphs);

}  // namespace lserve
