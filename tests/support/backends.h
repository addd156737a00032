// Every backend that this machine can run, as a parameter of tests.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace lserve::testing {

struct BackendCase {
  std::string name;  // "reference", "cpu_avx2"
  std::shared_ptr<Backend> backend;
  bool is_reference = false;
  // Of the query and the probabilities in prefill over a bf16 cache (kernels/prefill_attention.h).
  double prefill_rounding = 0;
  // Weights are stored as bf16, and x is rounded to it where there are many rows of it; if precise,
  // what is left of x is rounded to bf16 once more.
  bool bf16_matrices = false;

  friend std::ostream& operator<<(std::ostream& out, const BackendCase& c) { return out << c.name; }
};

// Made once; two threads each. Instruction sets that the machine lacks are left out; "cuda" comes
// last, behind host memory (mirror_backend.h), if this build and this machine have it.
const std::vector<BackendCase>& available_backends();

class BackendTest : public ::testing::TestWithParam<BackendCase> {
 protected:
  Backend& backend() const { return *GetParam().backend; }
  // Keys and values with scales are rounded too, by backends that multiply them as bf16.
  double prefill_rounding(KvFormat format) const {
    if (format == KvFormat::kBF16) return GetParam().prefill_rounding;
    return has_scales(format) && is_cuda() ? 2 * GetParam().prefill_rounding : 0;
  }
  bool is_reference() const { return GetParam().is_reference; }
  bool is_cuda() const { return GetParam().bf16_matrices; }
};

inline std::string backend_name(const ::testing::TestParamInfo<BackendCase>& info) {
  return info.param.name;
}

// What the elements of a weight become when that backend stores them.
void as_stored(const Backend& backend, std::span<float> values);

// A weight of that backend. REQUIRES: `data` has the size that format, rows and columns give.
Weight load(Backend* backend, WeightFormat format, int64_t rows, int64_t columns,
            std::span<const std::byte> data);

}  // namespace lserve::testing

#define INSTANTIATE_FOR_ALL_BACKENDS(Suite)                                              \
  INSTANTIATE_TEST_SUITE_P(Backends, Suite,                                              \
                           ::testing::ValuesIn(::lserve::testing::available_backends()), \
                           ::lserve::testing::backend_name)
