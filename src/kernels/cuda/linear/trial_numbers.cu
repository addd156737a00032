#include "kernels/cuda/linear/trial_numbers.h"

#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/common/elements.h"
#include "kernels/cuda/random_weight/random_weight.h"
#include "quant/random_values.h"

namespace lserve::cuda {

namespace {

__global__ __launch_bounds__(kElementThreads) void e4m3_kernel(uint8_t* out, int64_t count,
                                                               uint64_t seed) {
  const int64_t i = int64_t{blockIdx.x} * kElementThreads + threadIdx.x;
  if (i >= count) return;
  constexpr float kCodes = 127;  // of either sign; the one behind them is NaN
  const float value = random_value(seed, static_cast<uint64_t>(i), kCodes);
  const auto code = static_cast<uint8_t>(fminf(fabsf(value), kCodes - 1));
  out[i] = value < 0 ? code | 0x80 : code;
}

__global__ __launch_bounds__(kElementThreads) void compare_kernel(const uint16_t* a,
                                                                  const uint16_t* b, int64_t count,
                                                                  uint32_t* differs) {
  const int64_t i = int64_t{blockIdx.x} * kElementThreads + threadIdx.x;
  if (i < count && a[i] != b[i]) *differs = 1;
}

}  // namespace

void fill_trial(GemmType type, void* out, int64_t count, uint64_t seed, cudaStream_t stream) {
  if (type == GemmType::kBF16 || type == GemmType::kBF16Rounded) {
    return fill_random(static_cast<bf16*>(out), count, seed, 1.0F, stream);
  }
  e4m3_kernel<<<element_ctas(count), kElementThreads, 0, stream>>>(static_cast<uint8_t*>(out),
                                                                   count, seed);
  CUDA_CHECK(cudaGetLastError());
}

void note_difference(const void* a, const void* b, int64_t bytes, uint32_t* differs,
                     cudaStream_t stream) {
  const int64_t count = bytes / 2;
  compare_kernel<<<element_ctas(count), kElementThreads, 0, stream>>>(
      static_cast<const uint16_t*>(a), static_cast<const uint16_t*>(b), count, differs);
  CUDA_CHECK(cudaGetLastError());
}

bool is_zero(const uint32_t* word, cudaStream_t stream) {
  uint32_t value = 0;
  CUDA_CHECK(cudaMemcpyAsync(&value, word, sizeof(value), cudaMemcpyDeviceToHost, stream));
  CUDA_CHECK(cudaStreamSynchronize(stream));
  return value == 0;
}

}  // namespace lserve::cuda
