// What every backend asks of a low-rank term before it computes one.
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

}  // namespace lserve
