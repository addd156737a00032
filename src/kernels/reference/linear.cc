// Matrix times rows, one dot product an element. Contract: kernels/linear.h.
#include "kernels/reference/dot.h"
#include "kernels/reference/ops.h"

namespace lserve::reference {

namespace {

// Weight rows that a thread takes at a time: few enough to stay in its cache for all tokens.
constexpr int64_t kRowsPerPart = 8;

// low_rank = scale * A x of the output's term, [num_tokens, rank] within rows of `stride` floats.
void low_rank_down(const TensorView& x, const LowRankTerm& term, float* low_rank, int64_t stride) {
  const int64_t columns = x.dim(1);
  for (int64_t t = 0; t < x.dim(0); ++t) {
    for (int64_t r = 0; r < term.rank(); ++r) {
      low_rank[t * stride + r] = term.scale * dot(term.a->data.as<float>() + r * columns,
                                                  x.as<float>() + t * columns, columns);
    }
  }
}

// out += B low_rank, of an output that holds the rest.
void add_low_rank_up(const LinearOutput& output, const float* low_rank, int64_t stride) {
  const int64_t rank = output.low_rank.rank();
  if (rank == 0) return;
  const int64_t rows = output.weight->rows;
  for (int64_t t = 0; t < output.out.dim(0); ++t) {
    float* out = output.out.as<float>() + t * rows;
    for (int64_t r = 0; r < rows; ++r) {
      out[r] += dot(output.low_rank.b->data.as<float>() + r * rank, low_rank + t * stride, rank);
    }
  }
}

void linear_one(const TensorView& x, const LinearOutput& output, const float* low_rank,
                int64_t stride, ThreadPool* pool) {
  const int64_t num_tokens = x.dim(0);
  const int64_t columns = x.dim(1);
  const int64_t rows = output.weight->rows;
  CHECK_EQ(output.weight->columns, columns);
  CHECK(output.out.shape == Shape({num_tokens, rows}));
  const float* weight = output.weight->data.as<float>();
  const float* bias = output.bias.data == nullptr ? nullptr : output.bias.as<float>();
  const int64_t rank = output.low_rank.rank();
  pool->parallel_for(rows, kRowsPerPart, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = 0; t < num_tokens; ++t) {
      const float* input = x.as<float>() + t * columns;
      float* out = output.out.as<float>() + t * rows;
      for (int64_t r = begin; r < end; ++r) {
        float value = dot(weight + r * columns, input, columns);
        if (bias != nullptr) value += bias[r];
        if (rank > 0) {
          value += dot(output.low_rank.b->data.as<float>() + r * rank, low_rank + t * stride, rank);
        }
        out[r] = output.accumulate ? out[r] + value : value;
      }
    }
  });
}

}  // namespace

void linear(const LinearParams& params, ThreadPool* pool) {
  check_low_rank(params);
  const int64_t stride = total_rank(params.outputs);
  float* low_rank = stride == 0 ? nullptr : params.low_rank_scratch.as<float>();
  for (const LinearOutput& output : params.outputs) {
    low_rank_down(params.x, output.low_rank, low_rank, stride);
    if (is_row_quantised(output.weight->format)) {
      row_linear(params.x, output, pool);
      add_low_rank_up(output, low_rank, stride);
    } else {
      linear_one(params.x, output, low_rank, stride, pool);
    }
    low_rank += output.low_rank.rank();
  }
}

}  // namespace lserve::reference
