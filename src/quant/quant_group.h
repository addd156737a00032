// What the 4-bit formats have in common: groups of columns that share a scale, and two codes a
// byte.
//
// A group is 128 consecutive columns of a row; the last one may be shorter. Byte i of the codes
// holds column 2i in its low and column 2i + 1 in its high half; if the columns are odd, the last
// half byte is 0.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lserve {

inline constexpr int64_t kQuantGroupSize = 128;  // columns

constexpr int64_t num_quant_groups(int64_t columns) {
  return (columns + kQuantGroupSize - 1) / kQuantGroupSize;
}
constexpr int64_t int4_bytes(int64_t columns) { return (columns + 1) / 2; }

constexpr uint8_t int4_at(const uint8_t* codes, int64_t column) {
  return static_cast<uint8_t>(codes[column / 2] >> (column % 2 * 4) & 0xF);
}
// REQUIRES: that half byte is 0.
constexpr void put_int4(uint8_t* codes, int64_t column, uint8_t code) {
  codes[column / 2] = static_cast<uint8_t>(codes[column / 2] | code << (column % 2 * 4));
}

}  // namespace lserve
