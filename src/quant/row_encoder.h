// A row of weights into a row format, code by code: scales are searched for, not only computed from
// the largest weight, and each code is told what it will be read back as, so that a caller can make
// good for its error with codes that follow (error_feedback.h).
//
// The row's scale is chosen first, from its weights; a group's scales (4-bit formats) when the
// group begins, from its weights as they are by then. Both are the candidates of the least squared
// error, each column's times its importance. Whatever is chosen and rounded is a valid row of the
// format. One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "quant/weight_format.h"

namespace lserve {

class RowEncoder {
 public:
  // `row` is written from here on. REQUIRES: is_row_quantised(format); x and importance of one
  // size, finite; importance not negative; row.size() == row_bytes(format, x.size()).
  RowEncoder(WeightFormat format, std::span<const float> x, std::span<const float> importance,
             std::span<std::byte> row);

  // Before the first column of group `group` (quant_group.h, whatever the format). `x`: its
  // weights.
  void begin_group(int64_t group, std::span<const float> x, std::span<const float> importance);
  // Stores the code nearest to `value` and returns what it stands for; a second time, too.
  // REQUIRES: a column of a group that was begun.
  float round(int64_t column, float value);

 private:
  WeightFormat format_;
  int64_t columns_;
  std::byte* row_;
  // Of a group of a 4-bit format: x = step * code + offset.
  struct Group {
    float step = 0;
    float offset = 0;
  };
  float scale_ = 0;  // of the row
  std::vector<Group> groups_;
  uint8_t* codes_ = nullptr;  // of 4-bit formats
};

// The whole row, each code the nearest under the scales that were searched for.
void encode_row(WeightFormat format, std::span<const float> x, std::span<const float> importance,
                std::span<std::byte> row);

}  // namespace lserve
