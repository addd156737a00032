// Backends as such: memory, weights, and how they are made.
#include "kernels/backend.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "support/backends.h"

namespace lserve::testing {
namespace {

class BackendMemoryTest : public BackendTest {};

TEST_P(BackendMemoryTest, AllocatesZeroedAlignedMemory) {
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{100}, size_t{5} << 20}) {
    auto buffer = backend().allocate(bytes);
    ASSERT_TRUE(buffer.ok());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % 64, 0U);
    const auto* begin = buffer->as<char>();
    EXPECT_TRUE(std::all_of(begin, begin + bytes, [](char c) { return c == 0; }));
  }
}

TEST_P(BackendMemoryTest, RefusesWhatNoMachineHas) {
  auto buffer = backend().allocate(size_t{1} << 60);
  ASSERT_FALSE(buffer.ok());
  EXPECT_EQ(buffer.status().kind(), ErrorKind::kMemory);
  EXPECT_FALSE(buffer.status().message().empty());
}

TEST_P(BackendMemoryTest, WeightsTakeWhatThePlanSays) {
  for (const WeightFormat format : kAllWeightFormats) {
    for (const int64_t rows : {1, 7, 64, 100}) {
      const int64_t columns = is_row_quantised(format) ? 131 : 512;
      const std::vector<std::byte> data(static_cast<size_t>(rows) *
                                        static_cast<size_t>(*row_bytes(format, columns)));
      const Weight weight = load(&backend(), format, rows, columns, data);
      EXPECT_EQ(weight.rows, rows);
      EXPECT_EQ(weight.columns, columns);
      EXPECT_EQ(backend().allocation_bytes(static_cast<int64_t>(weight.data.bytes())),
                backend().weight_bytes(format, rows, columns))
          << weight_format_name(format) << ", " << rows << " rows";
    }
  }
}

TEST_P(BackendMemoryTest, DescribesItself) {
  const char* detail = is_cuda() ? ", sm_" : "2 threads";
  EXPECT_NE(backend().describe().find(detail), std::string::npos) << backend().describe();
}

INSTANTIATE_FOR_ALL_BACKENDS(BackendMemoryTest);

TEST(MakeBackendTest, AutoIsOneOfThose) {
  for (const BackendKind kind : {BackendKind::kReference, BackendKind::kCpu}) {
    auto made = make_backend({.kind = kind});
    ASSERT_TRUE(made.ok());
    EXPECT_FALSE((*made)->describe().empty());
  }
}

}  // namespace
}  // namespace lserve::testing
