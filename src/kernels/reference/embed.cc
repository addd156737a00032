// A row of the table a token. Contract: kernels/embed.h.
#include <algorithm>

#include "kernels/reference/ops.h"

namespace lserve::reference {

void embed(const EmbedParams& params) {
  const int64_t hidden = params.out.dim(1);
  CHECK_EQ(params.table->columns, hidden);
  CHECK_EQ(params.out.dim(0), static_cast<int64_t>(params.token_ids.size()));
  const Weight& table = *params.table;
  float* out = params.out.as<float>();
  for (const int32_t token : params.token_ids) {
    CHECK(token >= 0 && token < table.rows);
    if (is_row_quantised(table.format)) {
      const uint64_t bytes = *row_bytes(table.format, static_cast<uint64_t>(hidden));
      const std::byte* row = table.data.as<std::byte>() + static_cast<uint64_t>(token) * bytes;
      dequantise_row(table.format, {row, bytes}, {out, static_cast<size_t>(hidden)});
    } else {
      std::copy_n(table.data.as<float>() + token * hidden, hidden, out);
    }
    out += hidden;
  }
}

}  // namespace lserve::reference
