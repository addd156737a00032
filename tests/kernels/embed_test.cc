// Embedding: the row of the table, dequantised, in every weight format.
#include "kernels/embed.h"

#include <gtest/gtest.h>

#include "support/backends.h"
#include "support/compare.h"
#include "support/property.h"
#include "support/row_weights.h"

namespace lserve::testing {
namespace {

class EmbedTest : public BackendTest {};

TEST_P(EmbedTest, CopiesRows) {
  for (const WeightFormat format : kAllWeightFormats) {
    Random random(test_seed());
    const int64_t rows = 37;
    const int64_t columns = is_row_quantised(format) ? 195 : 512;
    const auto bytes = static_cast<size_t>(*row_bytes(format, columns));
    std::vector<std::byte> data(static_cast<size_t>(rows) * bytes);
    // Finite as a scale or a plain float, whatever the place.
    for (auto& byte : data) byte = static_cast<std::byte>(random.integer(0, 0x7A));
    if (is_row_quantised(format)) data = random_row_weights(format, rows, columns, &random);
    const Weight table = load(&backend(), format, rows, columns, data);
    const std::vector<int32_t> ids = {36, 0, 5, 5, 17};
    auto out = poisoned(static_cast<int64_t>(ids.size()) * columns);
    backend().embed({.table = &table,
                     .token_ids = ids,
                     .out = TensorView(out.data(), {static_cast<int64_t>(ids.size()), columns})});
    backend().synchronize();
    for (size_t t = 0; t < ids.size(); ++t) {
      std::vector<float> row(static_cast<size_t>(columns));
      dequantise_row(format, std::span(data).subspan(static_cast<size_t>(ids[t]) * bytes, bytes),
                     row);
      if (!is_row_quantised(format)) as_stored(backend(), row);
      const auto at = t * static_cast<size_t>(columns);
      EXPECT_TRUE(same_bits(std::span(out).subspan(at, row.size()), row))
          << weight_format_name(format);
    }
  }
}

INSTANTIATE_FOR_ALL_BACKENDS(EmbedTest);

}  // namespace
}  // namespace lserve::testing
