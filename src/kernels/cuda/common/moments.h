// Moments in the stream, by number: Backend::note_moment.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

#include "kernels/cuda/common/context.h"

namespace lserve::cuda {

class Moments {
 public:
  Moments() = default;
  ~Moments();
  Moments(const Moments&) = delete;
  Moments& operator=(const Moments&) = delete;

  // A node of the graph while one is recorded.
  void note(int64_t index, const Queue& queue);
  // In seconds. REQUIRES: both were reached.
  double between(int64_t from, int64_t to) const;

 private:
  std::vector<cudaEvent_t> events_;
};

}  // namespace lserve::cuda
