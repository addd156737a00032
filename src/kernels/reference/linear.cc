// Matrix times rows, one dot product an element. Contract: kernels/linear.h.
#include "kernels/reference/dot.h"
#include "kernels/reference/ops.h"

namespace lserve::reference {

namespace {

// Weight rows that a thread takes at a time: few enough to stay in its cache for all tokens.
constexpr int64_t kRowsPerPart = 8;

void linear_one(const TensorView& x, const LinearOutput& output, ThreadPool* pool) {
  const int64_t num_tokens = x.dim(0);
  const int64_t columns = x.dim(1);
  const int64_t rows = output.weight->rows;
  CHECK_EQ(output.weight->columns, columns);
  CHECK(output.out.shape == Shape({num_tokens, rows}));
  const float* weight = output.weight->data.as<float>();
  const float* bias = output.bias.data == nullptr ? nullptr : output.bias.as<float>();
  pool->parallel_for(rows, kRowsPerPart, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = 0; t < num_tokens; ++t) {
      const float* input = x.as<float>() + t * columns;
      float* out = output.out.as<float>() + t * rows;
      for (int64_t r = begin; r < end; ++r) {
        float value = dot(weight + r * columns, input, columns);
        if (bias != nullptr) value += bias[r];
        out[r] = output.accumulate ? out[r] + value : value;
      }
    }
  });
}

}  // namespace

void linear(const LinearParams& params, ThreadPool* pool) {
  for (const LinearOutput& output : params.outputs) linear_one(params.x, output, pool);
}

}  // namespace lserve::reference
