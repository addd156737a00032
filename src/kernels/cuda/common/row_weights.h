// How weights of the row formats (quant/weight_format.h) lie in the device's memory.
//
// First the codes, row after row at a pitch of whole 16 bytes, in the order of the file, zeros in
// the gaps. Then, from a multiple of 256 bytes on, the scales of the rows, float32 (none of w4a16).
// Then, likewise, the scales of the groups of the 4-bit formats: for each kScaleRows rows, for each
// segment (kSegmentBytes of codes, two groups) of a row, 4 or 8 bytes for each row:
//   w4a8   {uint8 s2; int8 m} of each group
//   w4a16  {f16 s; f16 m} of each group
// which is how the kernel for few rows reads them: 256 or 512 bytes that belong together.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/quant_group.h"
#include "quant/weight_format.h"

namespace lserve::cuda {

inline constexpr int64_t kScaleRows = 64;
inline constexpr int64_t kSegmentBytes = 128;
inline constexpr int64_t kSegmentGroups = kSegmentBytes * 2 / kQuantGroupSize;

constexpr int64_t round_up(int64_t x, int64_t unit) { return (x + unit - 1) / unit * unit; }

struct RowWeightLayout {
  constexpr RowWeightLayout(WeightFormat f, int64_t r, int64_t c)
      : format(f), rows(r), columns(c) {}

  constexpr bool is_4_bit() const {
    return format == WeightFormat::kW4A8 || format == WeightFormat::kW4A16;
  }
  constexpr int64_t code_bytes() const { return is_4_bit() ? int4_bytes(columns) : columns; }
  constexpr int64_t pitch() const { return round_up(code_bytes(), 16); }
  // Columns that fit into a pitch.
  constexpr int64_t padded_columns() const { return pitch() * (is_4_bit() ? 2 : 1); }
  // Of 4-bit formats.
  constexpr int64_t segments() const {
    return is_4_bit() ? (pitch() + kSegmentBytes - 1) / kSegmentBytes : 0;
  }
  constexpr int64_t group_bytes() const { return format == WeightFormat::kW4A8 ? 2 : 4; }
  constexpr int64_t row_group_bytes() const { return kSegmentGroups * group_bytes(); }

  constexpr int64_t row_scales_at() const { return round_up(rows * pitch(), 256); }
  constexpr int64_t group_scales_at() const {
    const bool has_row_scales = format != WeightFormat::kW4A16;
    return round_up(row_scales_at() + (has_row_scales ? rows * 4 : 0), 256);
  }
  constexpr int64_t group_scales_bytes() const {
    return round_up(rows, kScaleRows) * segments() * row_group_bytes();
  }
  // Where the scales of a row and segment lie, from group_scales_at().
  constexpr int64_t group_scale_at(int64_t row, int64_t segment) const {
    return ((row / kScaleRows * segments() + segment) * kScaleRows + row % kScaleRows) *
           row_group_bytes();
  }
  constexpr int64_t bytes() const { return group_scales_at() + group_scales_bytes(); }

  WeightFormat format;
  int64_t rows;
  int64_t columns;
};

}  // namespace lserve::cuda
