#include "kernels/cpu/row_panels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "base/checked_math.h"
#include "quant/activations.h"
#include "quant/fp8.h"
#include "quant/quant_group.h"
#include "quant/w4a16.h"
#include "quant/w4a8.h"
#include "quant/w8a8.h"

namespace lserve::cpu {

static_assert(kRowGroup == kQuantGroupSize,
              "the kernels are written for the groups of the formats");
static_assert(kLeastActivationRow == kLeastActivation, "all backends take the same rows for zero");

namespace {

constexpr int64_t kGroupBlocks = kRowGroup / kBlock;
constexpr int64_t kNibbleBlock = kPanel * kBlock / 2;
constexpr uint8_t kCentre = 0x80;  // q becomes q + 128

int64_t num_blocks(int64_t columns) { return ceil_div(columns, int64_t{kBlock}); }

// Where a w4a8 panel has what belongs to a column.
struct W4A8Place {
  explicit W4A8Place(int64_t column)
      : group(column / kRowGroup * (2 * kPanel + kGroupBlocks * kNibbleBlock)),
        block(group + 2 * kPanel + column % kRowGroup / kBlock * kNibbleBlock),
        byte(column % 16),
        shift(column % kBlock / 16 * 4) {}
  int64_t code(int64_t lane) const { return block + byte / 4 * 4 * kPanel + lane * 4 + byte % 4; }
  int64_t group;  // s2[16], m[16]
  int64_t block;
  int64_t byte;
  int64_t shift;
};

int64_t w8a8_code(int64_t column, int64_t lane) {
  return column / 4 * 4 * kPanel + lane * 4 + column % 4;
}

// Of w4a16, the byte of a column and the group's scales before it.
struct W4A16Place {
  static constexpr int64_t kGroupBytes = kPanel * (4 + kRowGroup / 2);
  W4A16Place(int64_t column, int64_t lane)
      : scale(column / kRowGroup * kGroupBytes + lane * 2),
        code(column / kRowGroup * kGroupBytes + kPanel * 4 + column % kRowGroup / 2 * kPanel +
             lane),
        shift(column % 2 * 4) {}
  int64_t scale;
  int64_t code;
  int64_t shift;
};

// The floats at the end of a panel.
uint8_t* scale_at(uint8_t* panel, WeightFormat format, int64_t columns, int64_t lane) {
  return panel + row_panel_bytes(format, columns) - kPanel * 4 + lane * 4;
}
float read_scale(const uint8_t* panel, WeightFormat format, int64_t columns, int64_t lane) {
  float scale;
  std::memcpy(&scale, panel + row_panel_bytes(format, columns) - kPanel * 4 + lane * 4, 4);
  return scale;
}

void pack_fp8(const Fp8Row& w, int64_t columns, int64_t lane, uint8_t* panel) {
  float scale = w.scale;
  for (int64_t c = 0; c < columns; ++c) {
    panel[c * kPanel + lane] = w.codes[c].bits;
    if (std::isnan(to_float(w.codes[c]))) scale = std::numeric_limits<float>::quiet_NaN();
  }
  std::memcpy(scale_at(panel, WeightFormat::kFp8, columns, lane), &scale, 4);
}

void pack_w8a8(const W8A8Row& w, int64_t columns, int64_t lane, uint8_t* panel) {
  for (int64_t c = 0; c < columns; ++c) {
    panel[w8a8_code(c, lane)] = static_cast<uint8_t>(w.codes[c]) ^ kCentre;
  }
  std::memcpy(scale_at(panel, WeightFormat::kW8A8, columns, lane), &w.scale, 4);
}

void pack_w4a8(const W4A8Row& w, int64_t columns, int64_t lane, uint8_t* panel) {
  for (int64_t c = 0; c < columns; ++c) {
    const W4A8Place place(c);
    uint8_t& code = panel[place.code(lane)];
    code = static_cast<uint8_t>(code | int4_at(w.codes, c) << place.shift);
    panel[place.group + lane] = w.group_scales[c / kRowGroup];
    panel[place.group + kPanel + lane] = static_cast<uint8_t>(w.group_mins[c / kRowGroup]);
  }
  std::memcpy(scale_at(panel, WeightFormat::kW4A8, columns, lane), &w.scale, 4);
}

void pack_w4a16(const W4A16Row& w, int64_t columns, int64_t lane, uint8_t* panel) {
  for (int64_t c = 0; c < columns; ++c) {
    const W4A16Place place(c, lane);
    panel[place.code] =
        static_cast<uint8_t>(panel[place.code] | int4_at(w.codes, c) << place.shift);
    if (c % kRowGroup != 0) continue;
    std::memcpy(panel + place.scale, w.scales + c / kRowGroup * 2, 2);
    std::memcpy(panel + place.scale + kPanel * 2, w.mins + c / kRowGroup * 2, 2);
  }
}

float half_at(const uint8_t* from) {
  f16 value;
  std::memcpy(&value, from, 2);
  return to_float(value);
}

float unpack_w4a16(const uint8_t* panel, int64_t column, int64_t lane) {
  const W4A16Place place(column, lane);
  const int code = panel[place.code] >> place.shift & 0xF;
  return half_at(panel + place.scale) * static_cast<float>(code) +
         half_at(panel + place.scale + kPanel * 2);
}

int unpack_w4a8(const uint8_t* panel, int64_t column, int64_t lane) {
  const W4A8Place place(column);
  const int code = panel[place.code(lane)] >> place.shift & 0xF;
  const auto min = static_cast<int8_t>(panel[place.group + kPanel + lane]);
  return panel[place.group + lane] * code + min;
}

}  // namespace

int64_t row_panel_bytes(WeightFormat format, int64_t columns) {
  const int64_t scales = kPanel * 4;
  switch (format) {
    case WeightFormat::kW8A8:
      return num_blocks(columns) * kBlock * kPanel + scales;
    case WeightFormat::kFp8:
      return columns * kPanel + scales;
    case WeightFormat::kW4A8:
      return num_blocks(columns) * kNibbleBlock + num_quant_groups(columns) * 2 * kPanel + scales;
    case WeightFormat::kW4A16:
      return (num_quant_groups(columns) * 4 + int4_bytes(columns)) * kPanel;
    default:
      CHECK(false && "not a row format");
  }
  return 0;
}

void pack_row_format(WeightFormat format, const std::byte* row, int64_t columns, int64_t lane,
                     uint8_t* panel) {
  switch (format) {
    case WeightFormat::kW8A8:
      return pack_w8a8(W8A8Row(row), columns, lane, panel);
    case WeightFormat::kFp8:
      return pack_fp8(Fp8Row(row), columns, lane, panel);
    case WeightFormat::kW4A8:
      return pack_w4a8(W4A8Row(row, columns), columns, lane, panel);
    case WeightFormat::kW4A16:
      return pack_w4a16(W4A16Row(row, columns), columns, lane, panel);
    default:
      CHECK(false && "not a row format");
  }
}

void unpack_row_format(WeightFormat format, const uint8_t* panel, int64_t columns, int64_t lane,
                       float* out) {
  const bool whole = format != WeightFormat::kW4A16;  // one scale a row
  const float scale = whole ? read_scale(panel, format, columns, lane) : 0.0F;
  for (int64_t c = 0; c < columns; ++c) {
    if (format == WeightFormat::kW8A8) {
      const auto code = static_cast<int8_t>(panel[w8a8_code(c, lane)] ^ kCentre);
      out[c] = scale * static_cast<float>(code);
    } else if (format == WeightFormat::kFp8) {
      out[c] = scale * to_float(e4m3{panel[c * kPanel + lane]});
    } else if (format == WeightFormat::kW4A8) {
      out[c] = scale * static_cast<float>(unpack_w4a8(panel, c, lane));
    } else {
      out[c] = unpack_w4a16(panel, c, lane);
    }
  }
}

}  // namespace lserve::cpu
