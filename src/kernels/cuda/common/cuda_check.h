// CUDA_CHECK for kernels; after each launch: CUDA_CHECK(cudaGetLastError()).
#pragma once

#include "tensor/cuda/cuda_check.h"
