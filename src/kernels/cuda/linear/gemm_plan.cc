#include "kernels/cuda/linear/gemm_plan.h"

#include "kernels/cuda/common/cublas_check.h"

namespace lserve::cuda {

namespace {

cublasLtMatrixLayout_t make_layout(cudaDataType_t type, int64_t rows, int64_t columns) {
  cublasLtMatrixLayout_t layout = nullptr;
  CUBLAS_CHECK(cublasLtMatrixLayoutCreate(&layout, type, static_cast<uint64_t>(rows),
                                          static_cast<uint64_t>(columns), rows));
  return layout;
}

template <typename T>
void set(cublasLtMatmulDesc_t product, cublasLtMatmulDescAttributes_t attribute, const T& value) {
  CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(product, attribute, &value, sizeof(value)));
}

cudaDataType_t input_type(GemmType type) {
  switch (type) {
    case GemmType::kBF16:
    case GemmType::kBF16Rounded:
      return CUDA_R_16BF;
    case GemmType::kInt8:
      return CUDA_R_8I;
    case GemmType::kFp8:
    case GemmType::kFp8Scaled:
      break;
  }
  return CUDA_R_8F_E4M3;
}

// Of sums, and of the factors alpha and beta.
cudaDataType_t sum_type(GemmType type) { return type == GemmType::kInt8 ? CUDA_R_32I : CUDA_R_32F; }

}  // namespace

int64_t gemm_input_bytes(GemmType type) { return input_type(type) == CUDA_R_16BF ? 2 : 1; }
int64_t gemm_output_bytes(GemmType type) { return type == GemmType::kBF16Rounded ? 2 : 4; }

uint32_t gemm_output_alignment(GemmType type, int64_t rows) {
  const int64_t element = gemm_output_bytes(type);
  return rows * element % kGemmAlignment == 0 ? kGemmAlignment : static_cast<uint32_t>(element);
}

Gemm::Plan::Plan(GemmType its_type, int64_t its_rows, int64_t its_columns)
    : type(its_type), rows(its_rows), columns(its_columns) {
  const cudaDataType_t out_type = type == GemmType::kBF16Rounded ? CUDA_R_16BF : sum_type(type);
  weight = make_layout(input_type(type), columns, rows);
  x = make_layout(input_type(type), columns, 1);
  out = make_layout(out_type, rows, 1);
  const auto compute = type == GemmType::kInt8 ? CUBLAS_COMPUTE_32I : CUBLAS_COMPUTE_32F;
  CUBLAS_CHECK(cublasLtMatmulDescCreate(&product, compute, sum_type(type)));
  set(product, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
  if (type != GemmType::kFp8 && type != GemmType::kFp8Scaled) return;
  // Sums stay in the tensor cores up to their end, which keep fewer bits of them (linear.h).
  set(product, CUBLASLT_MATMUL_DESC_FAST_ACCUM, int8_t{1});
  if (type != GemmType::kFp8Scaled) return;
  const auto outer = CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
  set(product, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, int32_t{outer});
  set(product, CUBLASLT_MATMUL_DESC_B_SCALE_MODE, int32_t{outer});
  // Who asks for algorithms has no scales yet, and cuBLASLt wants to see that there will be some.
  alignas(256) static constexpr float kNoScale = 0;
  set_scales(&kNoScale, &kNoScale);
}

Gemm::Plan::~Plan() {
  for (cublasLtMatrixLayout_t layout : {weight, x, out}) {
    static_cast<void>(cublasLtMatrixLayoutDestroy(layout));
  }
  static_cast<void>(cublasLtMatmulDescDestroy(product));
}

void Gemm::Plan::set_tokens(int64_t num_tokens) {
  const auto tokens = static_cast<uint64_t>(num_tokens);
  for (cublasLtMatrixLayout_t layout : {x, out}) {
    CUBLAS_CHECK(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_COLS, &tokens,
                                                  sizeof(tokens)));
  }
}

void Gemm::Plan::set_out_stride(int64_t stride) {
  CUBLAS_CHECK(
      cublasLtMatrixLayoutSetAttribute(out, CUBLASLT_MATRIX_LAYOUT_LD, &stride, sizeof(stride)));
}

void Gemm::Plan::set_scales(const float* of_weight, const float* of_x) {
  set(product, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, of_weight);
  set(product, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, of_x);
}

bool Gemm::Plan::serves(void* handle, const cublasLtMatmulAlgo_t& a, int64_t tokens) {
  set_tokens(tokens);
  cublasLtMatmulHeuristicResult_t result{};
  return cublasLtMatmulAlgoCheck(static_cast<cublasLtHandle_t>(handle), product, weight, x, out,
                                 out, &a, &result) == CUBLAS_STATUS_SUCCESS &&
         result.workspaceSize <= kGemmWorkspace;
}

const cublasLtMatmulAlgo_t& Gemm::Plan::algorithm_of(void* handle, int64_t tokens) {
  if (tokens > kGemmTiers.back().most_tokens) return algorithm;
  const auto known = chosen.find(tokens);
  if (known != chosen.end()) return *known->second;
  const cublasLtMatmulAlgo_t* found = &algorithm;
  for (size_t i = kGemmTiers.size(); i-- > 0;) {
    if (tokens <= kGemmTiers[i].most_tokens && of_tiers[i].has_value() &&
        serves(handle, *of_tiers[i], tokens)) {
      found = &*of_tiers[i];
    }
  }
  chosen.emplace(tokens, found);
  return *found;
}

}  // namespace lserve::cuda
