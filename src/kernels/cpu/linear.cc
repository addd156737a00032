// Spreads linear layers over the threads: x is packed tile by tile, then (row tile, panel) pairs of
// all outputs together are handed out in runs. Contract: kernels/linear.h.
#include <algorithm>
#include <array>

#include "base/checked_math.h"
#include "kernels/cpu/context.h"
#include "kernels/cpu/linear_pack.h"
#include "kernels/cpu/low_rank.h"

namespace lserve::cpu {

namespace {

constexpr std::array kAllRowCodes = {kRowsF32, kRowsQuantised, kRowsPrecise, kRowsInteger,
                                     kRowsE4m3};
static_assert(kAllRowCodes.size() == kNumRowCodes);

// So that the integer sums fit (kernels/linear.h).
bool fits(WeightFormat format, int64_t columns) {
  return row_code(format, false) != kRowsInteger || columns <= kMostInt8Columns;
}

struct PackedRows {
  const uint8_t* data = nullptr;
  int64_t row_bytes = 0;
};

// Packs x in tiles of row_tile rows.
PackedRows pack(const TensorView& x, RowCode code, uint8_t* out, Context* context) {
  const CpuKernels& kernels = context->kernels;
  const auto pack_tile = kernels.pack_rows[code];
  const int64_t num_rows = x.dim(0);
  const int64_t columns = x.dim(1);
  const int64_t tile = kernels.row_tile;
  const int64_t row_bytes = packed_row_bytes(code, columns);
  const float* rows = x.as<float>();
  context->pool.parallel_for(ceil_div(num_rows, tile), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin * tile; row < std::min(end * tile, num_rows); row += tile) {
      const auto count = static_cast<int>(std::min(tile, num_rows - row));
      pack_tile(rows + row * columns, columns, count, columns, out + row * row_bytes);
    }
  });
  return {out, row_bytes};
}

// The panels [panel, panel + count) of one output for one tile of rows.
void run_tile(const LinearOutput& output, const PackedRows& rows, RowCode code, int64_t first_row,
              int64_t num_rows, int64_t panel, int64_t count, const CpuKernels& kernels) {
  const Weight& weight = *output.weight;
  const int64_t first_output = panel * kPanel;
  LinearTile tile{};
  tile.rows = rows.data + first_row * rows.row_bytes;
  tile.num_rows = static_cast<int>(num_rows);
  tile.columns = weight.columns;
  tile.weights = weight.data.as<uint8_t>() + panel * panel_bytes(weight.format, weight.columns);
  tile.num_panels = count;
  tile.num_outputs = std::min(weight.rows - first_output, count * kPanel);
  tile.bias = output.bias.data == nullptr ? nullptr : output.bias.as<float>() + first_output;
  tile.out = output.out.as<float>() + first_row * weight.rows + first_output;
  tile.out_stride = weight.rows;
  tile.accumulate = output.accumulate;
  kernels.linear[code][weight_code(weight.format)](tile);
}

}  // namespace

void linear(const LinearParams& params, Context* context) {
  const int64_t num_rows = params.x.dim(0);
  const int64_t columns = params.x.dim(1);
  int64_t panels = 0;
  std::array<bool, kNumRowCodes> wanted{};
  for (const LinearOutput& output : params.outputs) {
    CHECK_EQ(output.weight->columns, columns);
    CHECK(output.out.shape == Shape({num_rows, output.weight->rows}));
    CHECK(fits(output.weight->format, columns));
    panels += num_panels(output.weight->rows);
    wanted[row_code(output.weight->format, params.precise)] = true;
    if (output.low_rank.rank() > 0) wanted[kRowsF32] = true;
  }
  check_low_rank(params);
  if (num_rows == 0) return;
  std::array<int64_t, kNumRowCodes> at{};
  int64_t bytes = 0;
  for (const RowCode code : kAllRowCodes) {
    at[code] = bytes;
    if (!wanted[code]) continue;
    bytes += round_up(num_rows * packed_row_bytes(code, columns), int64_t{64});
  }
  uint8_t* scratch = context->rows.bytes(bytes);
  std::array<PackedRows, kNumRowCodes> rows{};
  for (const RowCode code : kAllRowCodes) {
    if (wanted[code]) rows[code] = pack(params.x, code, scratch + at[code], context);
  }
  const LowRankTerms low_rank(params, rows[kRowsF32].data, context);

  // Runs of consecutive panels keep a tile of x in the cache. One row only streams weights: two
  // long runs a thread (2.4-2.9 ms for all layers of SmolLM2 where sixteen take 3.2-4.3).
  const int64_t row_tile = context->kernels.row_tile;
  const int64_t total = ceil_div(num_rows, row_tile) * panels;
  const int64_t runs = (num_rows == 1 ? 2 : 16) * int64_t{context->pool.num_threads()};
  const int64_t grain = std::clamp(ceil_div(total, runs), std::min(panels, int64_t{2}), panels);
  context->pool.parallel_for(total, grain, [&](int64_t begin, int64_t end, int thread_idx) {
    while (begin < end) {
      const int64_t first_row = begin / panels * row_tile;
      const int64_t tile_rows = std::min(row_tile, num_rows - first_row);
      int64_t panel = begin % panels;
      auto output = params.outputs.begin();
      for (; panel >= num_panels(output->weight->rows); ++output) {
        panel -= num_panels(output->weight->rows);
      }
      const int64_t count = std::min(end - begin, num_panels(output->weight->rows) - panel);
      const RowCode code = row_code(output->weight->format, params.precise);
      run_tile(*output, rows[code], code, first_row, tile_rows, panel, count, context->kernels);
      low_rank.add_tile(static_cast<size_t>(output - params.outputs.begin()), first_row, tile_rows,
                        panel, count, thread_idx);
      begin += count;
    }
  });
}

void embed(const EmbedParams& params, Context* context) {
  const int64_t hidden = params.out.dim(1);
  CHECK_EQ(params.table->columns, hidden);
  CHECK_EQ(params.out.dim(0), static_cast<int64_t>(params.token_ids.size()));
  context->pool.parallel_for(
      params.out.dim(0), 2 * kSerialTokens, [&](int64_t begin, int64_t end, int) {
        for (int64_t t = begin; t < end; ++t) {
          const int32_t token = params.token_ids[static_cast<size_t>(t)];
          CHECK(token >= 0 && token < params.table->rows);
          unpack_row(*params.table, token, params.out.as<float>() + t * hidden);
        }
      });
}

}  // namespace lserve::cpu
