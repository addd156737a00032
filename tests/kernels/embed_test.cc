// Embedding: the row of the table, dequantised, in every weight format.
#include "kernels/embed.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "support/backends.h"
#include "support/compare.h"
#include "support/property.h"

namespace lserve::testing {
namespace {

class EmbedTest : public BackendTest {};

TEST_P(EmbedTest, CopiesRows) {
  for (const WeightFormat format : {WeightFormat::kF32, WeightFormat::kF16, WeightFormat::kBF16,
                                    WeightFormat::kQ8_0, WeightFormat::kQ4_1}) {
    Random random(test_seed());
    const int64_t rows = 37;
    const int64_t columns = 96;
    const auto bytes = static_cast<size_t>(*row_bytes(format, columns));
    std::vector<std::byte> data(static_cast<size_t>(rows) * bytes);
    // 0x2A.. as a scale or a plain float is small and finite, whatever the codes are.
    for (auto& byte : data) byte = static_cast<std::byte>(random.integer(0x20, 0x3A));
    const Weight table = load(&backend(), format, rows, columns, data);
    const std::vector<int32_t> ids = {36, 0, 5, 5, 17};
    auto out = poisoned(static_cast<int64_t>(ids.size()) * columns);
    backend().embed({.table = &table,
                     .token_ids = ids,
                     .out = TensorView(out.data(), {static_cast<int64_t>(ids.size()), columns})});
    backend().synchronize();
    for (size_t t = 0; t < ids.size(); ++t) {
      std::vector<float> row(columns);
      dequantise_row(format, std::span(data).subspan(static_cast<size_t>(ids[t]) * bytes, bytes),
                     row);
      std::vector<double> expected(row.begin(), row.end());
      double max = 0;
      for (const double x : expected) max = std::max(max, std::abs(x));
      EXPECT_TRUE(all_near(std::span(out).subspan(t * columns, columns), expected, max * 0x1p-22))
          << weight_format_name(format);
    }
  }
}

INSTANTIATE_FOR_ALL_BACKENDS(EmbedTest);

}  // namespace
}  // namespace lserve::testing
