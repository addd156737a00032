// What every backend asks of params before it computes anything.
#include "kernels/linear.h"

namespace lserve {

int64_t total_rank(std::span<const LinearOutput> outputs) {
  int64_t sum = 0;
  for (const LinearOutput& output : outputs) sum += output.low_rank.rank();
  return sum;
}

void check_low_rank(const LinearParams& params) {
  const int64_t columns = total_rank(params.outputs);
  if (columns == 0) return;
  CHECK(params.low_rank_scratch.shape == Shape({params.x.dim(0), columns}));
  for (const LinearOutput& output : params.outputs) {
    const LowRankTerm& term = output.low_rank;
    if (term.a == nullptr) continue;
    CHECK(term.b != nullptr);
    CHECK(is_plain_float(term.a->format) && is_plain_float(term.b->format));
    CHECK_GE(term.rank(), 1);
    CHECK_EQ(term.a->columns, params.x.dim(1));
    CHECK_EQ(term.b->columns, term.rank());
    CHECK_EQ(term.b->rows, output.weight->rows);
  }
}

void check_norm_linear(const NormLinearParams& params) {
  const LinearParams& linear = params.linear;
  check_low_rank(linear);
  CHECK(params.norm.out.data == linear.x.data && params.norm.out.shape == linear.x.shape);
  CHECK(params.norm.x.shape == linear.x.shape);
  CHECK(linear.x.dtype == DType::kF32 && linear.x_largest.data == nullptr);
  CHECK(params.norm.weight.shape == Shape({linear.x.dim(1)}));
  for (const LinearOutput& output : linear.outputs) CHECK(output.out.data != params.norm.x.data);
  if (!params.gated) return;
  CHECK_EQ(linear.outputs.size(), size_t{2});
  const LinearOutput& gate = linear.outputs[0];
  const LinearOutput& up = linear.outputs[1];
  CHECK_EQ(gate.weight->rows, up.weight->rows);
  if (params.largest.data != nullptr) {
    const int64_t parts = (gate.weight->rows + kLargestColumns - 1) / kLargestColumns;
    CHECK(params.largest.shape == Shape({linear.x.dim(0), parts}));
  }
  CHECK(!gate.accumulate && !up.accumulate && gate.out.data != up.out.data);
  if (gate.out.dtype == DType::kF32) return;
  CHECK(gate.out.dtype == DType::kBF16);
  CHECK(!linear.precise && params.norm.out.data != params.norm.x.data);
  CHECK(gate.bias.data == nullptr && up.bias.data == nullptr);
  CHECK_EQ(total_rank(linear.outputs), int64_t{0});
}

}  // namespace lserve
