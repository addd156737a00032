// A row of the table a token. Contract: kernels/embed.h.
#include <algorithm>

#include "kernels/reference/ops.h"

namespace lserve::reference {

void embed(const EmbedParams& params) {
  const int64_t hidden = params.out.dim(1);
  CHECK_EQ(params.table->columns, hidden);
  CHECK_EQ(params.out.dim(0), static_cast<int64_t>(params.token_ids.size()));
  const float* table = params.table->data.as<float>();
  float* out = params.out.as<float>();
  for (const int32_t token : params.token_ids) {
    CHECK(token >= 0 && token < params.table->rows);
    out = std::copy_n(table + token * hidden, hidden, out);
  }
}

}  // namespace lserve::reference
