#include "kernels/cpu/low_rank.h"

#include <algorithm>

#include "base/checked_math.h"
#include "kernels/cpu/linear_pack.h"

namespace lserve::cpu {

namespace {

// Panels [panel, panel + count) of a matrix of plain floats, for num_rows rows packed as kRowsF32.
void run_float_tile(const Weight& weight, const float* rows, int64_t num_rows, int64_t panel,
                    int64_t count, float* out, int64_t out_stride, bool accumulate,
                    const CpuKernels& kernels) {
  const int64_t first_output = panel * kPanel;
  LinearTile tile{};
  tile.rows = reinterpret_cast<const uint8_t*>(rows);
  tile.num_rows = static_cast<int>(num_rows);
  tile.columns = weight.columns;
  tile.weights = weight.data.as<uint8_t>() + panel * panel_bytes(weight.format, weight.columns);
  tile.num_panels = count;
  tile.num_outputs = std::min(weight.rows - first_output, count * kPanel);
  tile.out = out + first_output;
  tile.out_stride = out_stride;
  tile.accumulate = accumulate;
  kernels.linear[kRowsF32][weight_code(weight.format)](tile);
}

}  // namespace

LowRankTerms::LowRankTerms(const LinearParams& params, const uint8_t* rows, Context* context)
    : params_(params), kernels_(context->kernels), num_columns_(total_rank(params.outputs)) {
  if (num_columns_ == 0) return;
  int64_t panels = 0;
  int64_t widest = 0;
  for (const LinearOutput& output : params.outputs) {
    panels += num_panels(output.low_rank.rank());
    widest = std::max(widest, output.low_rank.rank());
  }
  const int64_t num_rows = params.x.dim(0);
  const int64_t row_tile = kernels_.row_tile;
  const int64_t threads = context->pool.num_threads();
  packed_floats_ = row_tile * widest;
  packed_ = context->per_thread.floats(threads * packed_floats_);

  const int64_t total = ceil_div(num_rows, row_tile) * panels;
  const int64_t grain = std::clamp(ceil_div(total, 4 * threads), int64_t{1}, panels);
  context->pool.parallel_for(total, grain, [&](int64_t begin, int64_t end, int) {
    while (begin < end) {
      const int64_t first_row = begin / panels * row_tile;
      const int64_t panel = begin % panels;
      const int64_t count = std::min(end - begin, panels - panel);
      run_down(rows, first_row, std::min(row_tile, num_rows - first_row), panel, count);
      begin += count;
    }
  });
}

// Panels are counted through the A of all terms.
void LowRankTerms::run_down(const uint8_t* rows, int64_t first_row, int64_t num_rows, int64_t panel,
                            int64_t count) const {
  const int64_t row_bytes = packed_row_bytes(kRowsF32, params_.x.dim(1));
  const auto* tile_rows = reinterpret_cast<const float*>(rows + first_row * row_bytes);
  float* out = params_.low_rank_scratch.as<float>() + first_row * num_columns_;
  for (const LinearOutput& output : params_.outputs) {
    const int64_t rank = output.low_rank.rank();
    const int64_t own = std::min(count, num_panels(rank) - panel);
    if (own > 0) {
      run_float_tile(*output.low_rank.a, tile_rows, num_rows, panel, own, out, num_columns_, false,
                     kernels_);
      const int64_t last = std::min(rank, (panel + own) * kPanel);
      for (int64_t row = 0; row < num_rows; ++row) {
        for (int64_t c = panel * kPanel; c < last; ++c) {
          out[row * num_columns_ + c] *= output.low_rank.scale;
        }
      }
      count -= own;
      panel += own;
    }
    if (count == 0) return;
    panel -= num_panels(rank);
    out += rank;
  }
}

void LowRankTerms::add_tile(size_t output_idx, int64_t first_row, int64_t num_rows, int64_t panel,
                            int64_t count, int thread_idx) const {
  const LinearOutput& output = params_.outputs[output_idx];
  if (output.low_rank.a == nullptr) return;
  const Weight& b = *output.low_rank.b;
  const float* down = params_.low_rank_scratch.as<float>() + first_row * num_columns_ +
                      total_rank(params_.outputs.first(output_idx));
  if (num_rows > 1) {  // one row is packed as it is
    float* packed = packed_ + thread_idx * packed_floats_;
    kernels_.pack_rows[kRowsF32](down, num_columns_, static_cast<int>(num_rows), b.columns,
                                 reinterpret_cast<uint8_t*>(packed));
    down = packed;
  }
  run_float_tile(b, down, num_rows, panel, count, output.out.as<float>() + first_row * b.rows,
                 b.rows, true, kernels_);
}

}  // namespace lserve::cpu
