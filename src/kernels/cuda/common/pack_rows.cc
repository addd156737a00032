#include "kernels/cuda/common/pack_rows.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "quant/fp8.h"
#include "quant/w4a16.h"
#include "quant/w4a8.h"
#include "quant/w8a8.h"

namespace lserve::cuda {

namespace {

const std::byte* row_of(const RowWeightLayout& layout, const RawWeight& raw, int64_t row) {
  const uint64_t bytes = *row_bytes(layout.format, static_cast<uint64_t>(layout.columns));
  return raw.data.data() + static_cast<uint64_t>(row) * bytes;
}

const void* codes_of(const RowWeightLayout& layout, const std::byte* row) {
  switch (layout.format) {
    case WeightFormat::kW8A8:
      return W8A8Row(row).codes;
    case WeightFormat::kFp8:
      return Fp8Row(row).codes;
    case WeightFormat::kW4A8:
      return W4A8Row(row, layout.columns).codes;
    case WeightFormat::kW4A16:
      return W4A16Row(row, layout.columns).codes;
    default:
      CHECK(false && "not a row format");
  }
}

}  // namespace

void pack_codes(const RowWeightLayout& layout, const RawWeight& raw, int64_t row,
                std::span<std::byte> to) {
  const auto size = static_cast<size_t>(layout.code_bytes());
  CHECK_EQ(to.size(), static_cast<size_t>(layout.pitch()));
  std::memcpy(to.data(), codes_of(layout, row_of(layout, raw, row)), size);
  std::fill(to.begin() + static_cast<std::ptrdiff_t>(size), to.end(), std::byte{0});
}

float row_scale(const RowWeightLayout& layout, const RawWeight& raw, int64_t row) {
  const std::byte* from = row_of(layout, raw, row);
  switch (layout.format) {
    case WeightFormat::kW8A8:
      return W8A8Row(from).scale;
    case WeightFormat::kFp8:
      return Fp8Row(from).scale;
    case WeightFormat::kW4A8:
      return W4A8Row(from, layout.columns).scale;
    default:
      CHECK(false && "no scale of a row");
  }
}

void pack_group_scales(const RowWeightLayout& layout, const RawWeight& raw, int64_t block,
                       std::span<std::byte> to) {
  const int64_t groups = num_quant_groups(layout.columns);
  const int64_t each = kSegmentGroups;
  CHECK_EQ(to.size(),
           static_cast<size_t>(layout.segments() * kScaleRows * layout.row_group_bytes()));
  std::fill(to.begin(), to.end(), std::byte{0});
  const int64_t first = block * kScaleRows;
  for (int64_t row = first; row < std::min(first + kScaleRows, layout.rows); ++row) {
    const std::byte* from = row_of(layout, raw, row);
    for (int64_t group = 0; group < groups; ++group) {
      std::byte* at = to.data() + layout.group_scale_at(row - first, group / each);
      const int64_t i = group % each;
      if (layout.format == WeightFormat::kW4A8) {
        const W4A8Row w(from, layout.columns);
        at[2 * i] = static_cast<std::byte>(w.group_scales[group]);
        at[2 * i + 1] = static_cast<std::byte>(w.group_mins[group]);
      } else {
        const W4A16Row w(from, layout.columns);
        std::memcpy(at + 4 * i, w.scales + 2 * group, 2);
        std::memcpy(at + 4 * i + 2, w.mins + 2 * group, 2);
      }
    }
  }
}

}  // namespace lserve::cuda
