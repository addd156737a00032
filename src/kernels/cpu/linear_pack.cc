#include "kernels/cpu/linear_pack.h"

#include <cstring>

#include "base/check.h"
#include "base/checked_math.h"
#include "kernels/linear.h"
#include "tensor/dtype.h"

namespace lserve::cpu {

static_assert(kBlock == kQuantBlock, "the kernels are written for the blocks of the formats");
static_assert(kActBlock == kActivationBlock, "the contract names the blocks of the activations");

namespace {

constexpr uint32_t kOffset128 = 0x80808080;  // flips the sign bits: int8 q becomes q + 128

// Where things lie in one block of a panel.
struct BlockLayout {
  int64_t file_bytes;   // of one row's block in the file: scales, then codes
  int64_t scale_bytes;  // 2 (d) or 4 (d, m)
  int64_t words;        // 4-byte words of codes a row
  uint32_t flip;

  int64_t code_bytes() const { return words * kPanel * 4; }
  int64_t bytes() const { return code_bytes() + scale_bytes * kPanel; }
};

BlockLayout layout_of(WeightFormat format) {
  if (format == WeightFormat::kQ4_1) return {block_bytes(format), 4, 4, 0};
  return {block_bytes(format), 2, 8, kOffset128};
}

void pack_block(const BlockLayout& layout, const std::byte* from, int64_t lane, uint8_t* to) {
  for (int64_t i = 0; i < layout.scale_bytes / 2; ++i) {
    std::memcpy(to + layout.code_bytes() + (i * kPanel + lane) * 2, from + i * 2, 2);
  }
  for (int64_t word = 0; word < layout.words; ++word) {
    uint32_t codes;
    std::memcpy(&codes, from + layout.scale_bytes + word * 4, 4);
    codes ^= layout.flip;
    std::memcpy(to + (word * kPanel + lane) * 4, &codes, 4);
  }
}

void pack_row(WeightFormat format, const std::byte* row, int64_t columns, int64_t lane,
              uint8_t* panel) {
  if (is_block_quantised(format)) {
    const BlockLayout layout = layout_of(format);
    for (int64_t block = 0; block < columns / kBlock; ++block) {
      pack_block(layout, row + block * layout.file_bytes, lane, panel + block * layout.bytes());
    }
    return;
  }
  const int64_t bytes = block_bytes(format);
  for (int64_t c = 0; c < columns; ++c) {
    std::memcpy(panel + (c * kPanel + lane) * bytes, row + c * bytes, static_cast<size_t>(bytes));
  }
}

float half_at(const uint8_t* p) {
  f16 value;
  std::memcpy(&value, p, sizeof(value));
  return to_float(value);
}

void unpack_block(const BlockLayout& layout, const uint8_t* block, int64_t lane, float* out) {
  const float d = half_at(block + layout.code_bytes() + lane * 2);
  const bool is_q4 = layout.flip == 0;
  const float m = is_q4 ? half_at(block + layout.code_bytes() + (kPanel + lane) * 2) : 0.0F;
  for (int64_t c = 0; c < kBlock; ++c) {
    const int64_t column = is_q4 ? c % (kBlock / 2) : c;
    const uint8_t code = block[(column / 4 * kPanel + lane) * 4 + column % 4];
    if (is_q4) {
      out[c] = d * static_cast<float>(c < kBlock / 2 ? code & 0xF : code >> 4) + m;
    } else {
      out[c] = d * static_cast<float>(code - 128);
    }
  }
}

}  // namespace

WeightCode weight_code(WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32:
      return kWeightF32;
    case WeightFormat::kF16:
      return kWeightF16;
    case WeightFormat::kBF16:
      return kWeightBF16;
    case WeightFormat::kQ8_0:
      return kWeightQ8;
    case WeightFormat::kQ4_1:
      return kWeightQ4;
  }
  CHECK(false);
  return kWeightF32;
}

int64_t num_panels(int64_t rows) { return ceil_div(rows, int64_t{kPanel}); }

int64_t panel_bytes(WeightFormat format, int64_t columns) {
  return columns / columns_per_block(format) * block_bytes(format) * kPanel;
}

int64_t packed_weight_bytes(WeightFormat format, int64_t rows, int64_t columns) {
  return num_panels(rows) * panel_bytes(format, columns);
}

RowCode row_code(WeightFormat format, bool precise) {
  if (!is_block_quantised(format)) return kRowsF32;
  return precise ? kRowsPrecise : kRowsQuantised;
}

int64_t packed_row_bytes(RowCode code, int64_t columns) {
  if (code == kRowsF32) return columns * 4;
  const size_t bytes = code == kRowsPrecise ? sizeof(PreciseBlock) : sizeof(QuantisedBlock);
  return columns / kBlock * static_cast<int64_t>(bytes);
}

void pack_weight(const RawWeight& raw, uint8_t* out, ThreadPool* pool) {
  const int64_t bytes = panel_bytes(raw.format, raw.columns);
  const int64_t from_bytes = bytes / kPanel;
  CHECK_EQ(static_cast<int64_t>(raw.data.size()), raw.rows * from_bytes);
  pool->parallel_for(num_panels(raw.rows), 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin * kPanel; row < end * kPanel && row < raw.rows; ++row) {
      pack_row(raw.format, raw.data.data() + row * from_bytes, raw.columns, row % kPanel,
               out + row / kPanel * bytes);
    }
  });
}

void unpack_row(const Weight& weight, int64_t row, float* out) {
  const int64_t lane = row % kPanel;
  const uint8_t* panel =
      weight.data.as<uint8_t>() + row / kPanel * panel_bytes(weight.format, weight.columns);
  if (is_block_quantised(weight.format)) {
    const BlockLayout layout = layout_of(weight.format);
    for (int64_t block = 0; block < weight.columns / kBlock; ++block) {
      unpack_block(layout, panel + block * layout.bytes(), lane, out + block * kBlock);
    }
    return;
  }
  const int64_t bytes = block_bytes(weight.format);
  for (int64_t c = 0; c < weight.columns; ++c) {
    dequantise_row(weight.format,
                   {reinterpret_cast<const std::byte*>(panel) + (c * kPanel + lane) * bytes,
                    static_cast<size_t>(bytes)},
                   {out + c, 1});
  }
}

}  // namespace lserve::cpu
