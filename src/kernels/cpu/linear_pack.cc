#include "kernels/cpu/linear_pack.h"

#include <cstring>

#include "base/check.h"
#include "base/checked_math.h"
#include "kernels/cpu/panel_group.h"
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
    default:
      CHECK(false && "row formats have no panels");
  }
  return kWeightF32;
}

int64_t num_panels(int64_t rows) { return ceil_div(rows, int64_t{kPanel}); }

int64_t panel_bytes(WeightFormat format, int64_t columns) {
  if (!is_block_quantised(format)) return columns * block_bytes(format) * kPanel;
  const GroupLayout layout = group_layout(format);
  return columns / layout.columns() * layout.bytes() * kPanel;
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
  const int64_t from_bytes = raw.columns / columns_per_block(raw.format) * block_bytes(raw.format);
  CHECK_EQ(static_cast<int64_t>(raw.data.size()), raw.rows * from_bytes);
  pool->parallel_for(num_panels(raw.rows), 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin * kPanel; row < end * kPanel && row < raw.rows; ++row) {
      pack_row(raw.format, raw.data.data() + row * from_bytes, raw.columns, row % kPanel,
               out + row / kPanel * bytes);
    }
  });
}

void unpack_row(const Weight& weight, int64_t row, float* out) {
  if (is_row_quantised(weight.format)) {
    const uint64_t bytes = *row_bytes(weight.format, static_cast<uint64_t>(weight.columns));
    const std::byte* at = weight.data.as<std::byte>() + static_cast<uint64_t>(row) * bytes;
    dequantise_row(weight.format, {at, bytes}, {out, static_cast<size_t>(weight.columns)});
    return;
  }
  const int64_t lane = row % kPanel;
  const uint8_t* panel =
      weight.data.as<uint8_t>() + row / kPanel * panel_bytes(weight.format, weight.columns);
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
