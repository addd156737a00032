// Every backend that this machine can run, as a parameter of tests.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <ostream>
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

  friend std::ostream& operator<<(std::ostream& out, const BackendCase& c) { return out << c.name; }
};

// Made once; two threads each. Instruction sets that the machine lacks are left out.
const std::vector<BackendCase>& available_backends();

class BackendTest : public ::testing::TestWithParam<BackendCase> {
 protected:
  Backend& backend() const { return *GetParam().backend; }
  double prefill_rounding() const { return GetParam().prefill_rounding; }
  bool is_reference() const { return GetParam().is_reference; }
};

inline std::string backend_name(const ::testing::TestParamInfo<BackendCase>& info) {
  return info.param.name;
}

// A weight of that backend. REQUIRES: `data` has the size that format, rows and columns give.
Weight load(Backend* backend, WeightFormat format, int64_t rows, int64_t columns,
            std::span<const std::byte> data);

}  // namespace lserve::testing

#define INSTANTIATE_FOR_ALL_BACKENDS(Suite)                                              \
  INSTANTIATE_TEST_SUITE_P(Backends, Suite,                                              \
                           ::testing::ValuesIn(::lserve::testing::available_backends()), \
                           ::lserve::testing::backend_name)
