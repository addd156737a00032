// Random data of the workloads, from one seeded stream.
#include <algorithm>

#include "kernel_bench_workloads.h"
#include "quant/quantise_weight.h"
#include "tensor/dtype.h"

namespace lserve::bench {

Floats normals(Random* random, int64_t count) {
  Floats x(static_cast<size_t>(count));
  for (float& value : x) value = static_cast<float>(random->normal());
  return x;
}

TensorView view(Floats& x, int64_t columns) {
  return {x.data(), Shape({static_cast<int64_t>(x.size()) / columns, columns})};
}
TensorView heads(Floats& x, int64_t num_heads) {
  return {x.data(),
          Shape({static_cast<int64_t>(x.size()) / num_heads / kHeadDim, num_heads, kHeadDim})};
}

std::vector<std::byte> random_matrix(Random* random, WeightFormat format, int64_t rows,
                                     int64_t columns) {
  const auto bytes = static_cast<size_t>(rows) * *row_bytes(format, static_cast<size_t>(columns));
  std::vector<std::byte> data(bytes);
  if (is_row_quantised(format)) {
    const size_t row = bytes / static_cast<size_t>(rows);
    for (size_t at = 0; at < bytes; at += row) {
      quantise_row(format, normals(random, columns), std::span(data).subspan(at, row));
    }
    return data;
  }
  for (std::byte& b : data) b = static_cast<std::byte>(random->next() & 0xFF);
  const auto block = static_cast<size_t>(block_bytes(format));
  const bool has_min = format == WeightFormat::kQ4_1 || format == WeightFormat::kQ4_K;
  const bool is_super = columns_per_block(format) > kQuantBlock;  // with integers times the scales
  const f16 scale = to_f16(is_super ? 0.0003F : 0.01F);
  const f16 min = to_f16(is_super ? 0.002F : -0.07F);
  const size_t scale_at = format == WeightFormat::kQ6_K ? block - 2 : 0;
  for (size_t i = 0; i < bytes; i += block) {
    std::copy_n(reinterpret_cast<const std::byte*>(&scale), 2, data.data() + i + scale_at);
    if (has_min) std::copy_n(reinterpret_cast<const std::byte*>(&min), 2, data.data() + i + 2);
  }
  return data;
}

}  // namespace lserve::bench
