// The descriptors and algorithms of one shape of products (gemm.h). Included by sources only.
#pragma once

#include <array>
#include <map>
#include <optional>

#include "kernels/cuda/linear/gemm.h"

namespace lserve::cuda {

// Up to so many rows of x, another algorithm is faster: that for a usual number of them.
struct GemmTier {
  int64_t most_tokens;
  int64_t usual_tokens;
};
inline constexpr std::array<GemmTier, 4> kGemmTiers = {
    {{64, 48}, {256, 192}, {1024, 768}, {3072, 2048}}};
inline constexpr uint32_t kGemmAlignment = 16;  // bytes of rows

int64_t gemm_input_bytes(GemmType type);  // of an element
int64_t gemm_output_bytes(GemmType type);
// What rows of results are aligned to.
uint32_t gemm_output_alignment(GemmType type, int64_t rows);

// cuBLASLt counts columns first: W^T is its [columns, rows], x^T [columns, tokens] and out^T
// [rows, tokens]; out^T = (W^T)^T x^T.
struct Gemm::Plan {
  Plan(GemmType its_type, int64_t its_rows, int64_t its_columns);
  ~Plan();
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  void set_tokens(int64_t num_tokens);
  void set_out_stride(int64_t stride);
  void set_scales(const float* of_weight, const float* of_x);
  // Whether cuBLASLt runs the algorithm with that many rows of x: what it needs may depend on them.
  bool serves(void* handle, const cublasLtMatmulAlgo_t& a, int64_t tokens);
  // The first that its tier allows and that serves them.
  const cublasLtMatmulAlgo_t& algorithm_of(void* handle, int64_t tokens);

  const GemmType type;
  const int64_t rows;
  const int64_t columns;
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t weight = nullptr;
  cublasLtMatrixLayout_t x = nullptr;
  cublasLtMatrixLayout_t out = nullptr;
  cublasLtMatmulAlgo_t algorithm{};  // for any number of rows
  std::array<std::optional<cublasLtMatmulAlgo_t>, kGemmTiers.size()> of_tiers;
  std::map<int64_t, const cublasLtMatmulAlgo_t*> chosen;  // by numbers of rows of x
  bool has_warned = false;  // that cuBLASLt refuses a product of this shape
};

}  // namespace lserve::cuda
