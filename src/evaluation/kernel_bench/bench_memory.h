// Random data in a backend's memory, for workloads.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/backend.h"

namespace lserve {

inline constexpr int64_t kMaxCopies = 8192;

// kMemory, with both numbers, if that many bytes are not to be had.
Status check_fits(const Backend& backend, double bytes);
// A copy of a call's data: what it takes, and what of it a call reads.
struct CopyBytes {
  double held = 0;
  double read = 0;
};
// How many copies: enough that a round over them reads rotated_bytes, fewer where memory is short.
// kMemory if not even one fits beside `fixed_bytes`.
Result<int64_t> plan_copies(const Backend& backend, const CopyBytes& copy, double fixed_bytes,
                            int64_t rotated_bytes);

class BenchMemory {
 public:
  // The backend must outlive the memory.
  BenchMemory(Backend& backend, uint64_t seed) : backend_(backend), seed_(seed) {}

  // Zeroed. kMemory.
  Result<float*> zeros(int64_t count);
  // Uniform, of mean 0 and variance 1.
  Result<float*> random(int64_t count);
  template <typename T>
  Result<std::span<T>> list(const std::vector<T>& host) {
    ASSIGN_OR_RETURN(void* data, allocate(host.size() * sizeof(T)));
    backend_.upload(data, host.data(), host.size() * sizeof(T));
    return std::span<T>(static_cast<T*>(data), host.size());
  }
  // In bf16, or in a row format: then only the first 64 rows differ.
  Result<const Weight*> random_weight(int64_t rows, int64_t columns,
                                      WeightFormat format = WeightFormat::kBF16);

  Backend& backend() const { return backend_; }

 private:
  Result<void*> allocate(size_t bytes);

  Backend& backend_;
  uint64_t seed_;
  std::vector<float> block_;  // of random values, made once
  std::vector<Buffer> buffers_;
  std::vector<std::unique_ptr<Weight>> weights_;
};

}  // namespace lserve
