// How the cuda backend lays out weights of row formats: every code and scale is where the kernels
// look for it, what lies between is zero. Runs on the host.
#ifdef LSERVE_WITH_CUDA
#include "kernels/cuda/common/pack_rows.h"

#include <gtest/gtest.h>

#include <cstring>

#include "quant/w4a16.h"
#include "quant/w4a8.h"
#include "quant/w8a8.h"
#include "support/property.h"
#include "support/row_weights.h"

namespace lserve::testing {
namespace {

uint16_t half_at(std::span<const std::byte> bytes, int64_t at) {
  uint16_t bits;
  std::memcpy(&bits, bytes.data() + at, sizeof(bits));
  return bits;
}

void expect_group(const cuda::RowWeightLayout& layout, const std::byte* row, int64_t group,
                  std::span<const std::byte> scales, int64_t at) {
  if (layout.format == WeightFormat::kW4A8) {
    const W4A8Row w(row, layout.columns);
    ASSERT_EQ(static_cast<uint8_t>(scales[static_cast<size_t>(at)]), w.group_scales[group]);
    ASSERT_EQ(static_cast<int8_t>(scales[static_cast<size_t>(at) + 1]), w.group_mins[group]);
  } else {
    const W4A16Row w(row, layout.columns);
    ASSERT_EQ(half_at(scales, at),
              half_at({w.scales, 2 * static_cast<size_t>(group) + 2}, 2 * group));
    ASSERT_EQ(half_at(scales, at + 2),
              half_at({w.mins, 2 * static_cast<size_t>(group) + 2}, 2 * group));
  }
}

TEST(CudaPackRows, ScalesOfGroupsAreWhereTheLayoutSays) {
  for_each_case(test_cases(100), [&](Random& random, int64_t i) {
    const WeightFormat format = i % 2 == 0 ? WeightFormat::kW4A8 : WeightFormat::kW4A16;
    const int64_t rows = random.integer(1, 200);
    const int64_t columns = random.integer(1, 1500);
    const auto data = random_row_weights(format, rows, columns, &random);
    const auto bytes = static_cast<size_t>(*row_bytes(format, static_cast<uint64_t>(columns)));
    const cuda::RowWeightLayout layout(format, rows, columns);
    const RawWeight raw{format, rows, columns, data};
    std::vector<std::byte> scales(static_cast<size_t>(layout.group_scales_bytes()),
                                  std::byte{0xA5});
    const int64_t blocks = (rows + cuda::kScaleRows - 1) / cuda::kScaleRows;
    const size_t block_bytes = scales.size() / static_cast<size_t>(blocks);
    for (int64_t b = 0; b < blocks; ++b) {
      cuda::pack_group_scales(
          layout, raw, b,
          std::span(scales).subspan(static_cast<size_t>(b) * block_bytes, block_bytes));
    }
    int64_t seen = 0;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t group = 0; group < num_quant_groups(columns); ++group) {
        // Group g is of the columns whose codes are the bytes 64 g to 64 g + 63 of the row.
        const int64_t segment = group * kQuantGroupSize / 2 / cuda::kSegmentBytes;
        const int64_t at =
            layout.group_scale_at(r, segment) + group % cuda::kSegmentGroups * layout.group_bytes();
        expect_group(layout, data.data() + static_cast<size_t>(r) * bytes, group, scales, at);
        for (int64_t b = 0; b < layout.group_bytes(); ++b) {
          scales[static_cast<size_t>(at + b)] = std::byte{0};
          ++seen;
        }
      }
    }
    ASSERT_EQ(seen, rows * num_quant_groups(columns) * layout.group_bytes());
    for (const std::byte rest : scales) ASSERT_EQ(rest, std::byte{0});
  });
}

TEST(CudaPackRows, CodesFillTheirPitchWithZeros) {
  for_each_case(test_cases(100), [&](Random& random, int64_t i) {
    const WeightFormat format = kRowFormats[static_cast<size_t>(i) % kRowFormats.size()];
    const int64_t rows = random.integer(1, 20);
    const int64_t columns = random.integer(1, 700);
    const auto data = random_row_weights(format, rows, columns, &random);
    const auto bytes = static_cast<size_t>(*row_bytes(format, static_cast<uint64_t>(columns)));
    const cuda::RowWeightLayout layout(format, rows, columns);
    EXPECT_EQ(layout.pitch() % 16, 0);
    EXPECT_GE(layout.padded_columns(), columns);
    const int64_t row = random.integer(0, rows - 1);
    std::vector<std::byte> codes(static_cast<size_t>(layout.pitch()), std::byte{0xA5});
    cuda::pack_codes(layout, {format, rows, columns, data}, row, codes);
    const auto stored = std::span(data).subspan(static_cast<size_t>(row) * bytes, bytes);
    const auto size = static_cast<size_t>(layout.code_bytes());  // the codes are a row's end
    EXPECT_EQ(std::memcmp(codes.data(), stored.data() + (bytes - size), size), 0);
    for (size_t c = size; c < codes.size(); ++c) ASSERT_EQ(codes[c], std::byte{0});
    if (format == WeightFormat::kW8A8) {
      EXPECT_EQ(cuda::row_scale(layout, {format, rows, columns, data}, row),
                W8A8Row(stored.data()).scale);
    }
  });
}

}  // namespace
}  // namespace lserve::testing
#endif
