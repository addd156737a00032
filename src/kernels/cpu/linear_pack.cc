#include "kernels/cpu/linear_pack.h"

#include <cstring>

#include "base/check.h"
#include "base/checked_math.h"
#include "kernels/cpu/panel_group.h"
#include "kernels/cpu/row_panels.h"
#include "kernels/linear.h"

namespace lserve::cpu {

static_assert(kActBlock == kActivationBlock, "the contract names the blocks of the activations");

namespace {

template <WeightFormat kFormat>
void pack_groups(const std::byte* row, int64_t columns, int64_t lane, uint8_t* panel) {
  constexpr GroupLayout kLayout = group_layout(kFormat);
  const int64_t file_bytes = block_bytes(kFormat);
  PanelGroup group;
  for (int64_t c = 0; c < columns; c += kLayout.columns()) {
    read_group<kFormat>(row, &group);
    store_group<kFormat>(group, lane, panel);
    row += file_bytes;
    panel += kLayout.bytes() * kPanel;
  }
}

template <WeightFormat kFormat>
void unpack_groups(const uint8_t* panel, int64_t columns, int64_t lane, float* out) {
  constexpr GroupLayout kLayout = group_layout(kFormat);
  PanelGroup group;
  for (int64_t c = 0; c < columns; c += kLayout.columns()) {
    load_group<kFormat>(panel, lane, &group);
    dequantise_group<kFormat>(group, out + c);
    panel += kLayout.bytes() * kPanel;
  }
}

void pack_row(WeightFormat format, const std::byte* row, int64_t columns, int64_t lane,
              uint8_t* panel) {
  if (is_row_quantised(format)) return pack_row_format(format, row, columns, lane, panel);
  if (is_block_quantised(format)) {
    with_block_format(
        format, [&]<WeightFormat kFormat>() { pack_groups<kFormat>(row, columns, lane, panel); });
    return;
  }
  const int64_t bytes = block_bytes(format);
  for (int64_t c = 0; c < columns; ++c) {
    std::memcpy(panel + (c * kPanel + lane) * bytes, row + c * bytes, static_cast<size_t>(bytes));
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
      return kWeightQ8_0;
    case WeightFormat::kQ4_0:
      return kWeightQ4_0;
    case WeightFormat::kQ4_1:
      return kWeightQ4_1;
    case WeightFormat::kQ4_K:
      return kWeightQ4_K;
    case WeightFormat::kQ6_K:
      return kWeightQ6_K;
    case WeightFormat::kW8A8:
      return kWeightW8A8;
    case WeightFormat::kFp8:
      return kWeightFp8;
    case WeightFormat::kW4A8:
      return kWeightW4A8;
    case WeightFormat::kW4A16:
      return kWeightW4A16;
  }
  CHECK(false);
  return kWeightF32;
}

int64_t num_panels(int64_t rows) { return ceil_div(rows, int64_t{kPanel}); }

int64_t panel_bytes(WeightFormat format, int64_t columns) {
  if (is_row_quantised(format)) return row_panel_bytes(format, columns);
  if (!is_block_quantised(format)) return columns * block_bytes(format) * kPanel;
  const GroupLayout layout = group_layout(format);
  return columns / layout.columns() * layout.bytes() * kPanel;
}

int64_t packed_weight_bytes(WeightFormat format, int64_t rows, int64_t columns) {
  return num_panels(rows) * panel_bytes(format, columns);
}

RowCode row_code(WeightFormat format, bool precise) {
  if (format == WeightFormat::kW8A8 || format == WeightFormat::kW4A8) return kRowsInteger;
  if (format == WeightFormat::kFp8) return kRowsE4m3;
  if (!is_block_quantised(format)) return kRowsF32;
  return precise ? kRowsPrecise : kRowsQuantised;
}

int64_t packed_row_bytes(RowCode code, int64_t columns) {
  const int64_t scale_bytes = 4;
  if (code == kRowsF32) return columns * 4;
  if (code == kRowsE4m3) return columns * 4 + scale_bytes;
  if (code == kRowsInteger) {
    return ceil_div(columns, int64_t{kBlock}) * int64_t{sizeof(IntegerBlock)} + scale_bytes;
  }
  const size_t bytes = code == kRowsPrecise ? sizeof(PreciseBlock) : sizeof(QuantisedBlock);
  return columns / kBlock * static_cast<int64_t>(bytes);
}

void pack_weight(const RawWeight& raw, uint8_t* out, ThreadPool* pool) {
  const int64_t bytes = panel_bytes(raw.format, raw.columns);
  const auto from_bytes =
      static_cast<int64_t>(row_bytes(raw.format, static_cast<uint64_t>(raw.columns)).value());
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
  if (is_row_quantised(weight.format)) {
    return unpack_row_format(weight.format, panel, weight.columns, lane, out);
  }
  if (is_block_quantised(weight.format)) {
    with_block_format(weight.format, [&]<WeightFormat kFormat>() {
      unpack_groups<kFormat>(panel, weight.columns, lane, out);
    });
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
