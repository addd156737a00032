#include "kernels/cuda/linear/gemm.h"

#include <array>
#include <optional>

#include "base/check.h"
#include "kernels/cuda/common/cublas_check.h"

namespace lserve::cuda {

namespace {

constexpr uint64_t kUsualTokens = 2048;  // a chunk of a prompt
constexpr std::array<uint64_t, 6> kOtherTokens = {1, 2, 9, 64, 300, 4096};
constexpr int kCandidates = 64;
constexpr uint32_t kRowAlignment = 16;

uint32_t alignment_of_out(int64_t rows) {
  constexpr int64_t kFloats = kRowAlignment / sizeof(float);
  return rows % kFloats == 0 ? kRowAlignment : uint32_t{sizeof(float)};
}

cublasLtMatrixLayout_t make_layout(cudaDataType_t type, int64_t rows, uint64_t columns) {
  cublasLtMatrixLayout_t layout = nullptr;
  CUBLAS_CHECK(
      cublasLtMatrixLayoutCreate(&layout, type, static_cast<uint64_t>(rows), columns, rows));
  return layout;
}

}  // namespace

// cuBLASLt counts columns first: W^T is its [columns, rows], x^T [columns, tokens] and out^T
// [rows, tokens], all without gaps; out^T = (W^T)^T x^T.
struct Gemm::Plan {
  Plan(int64_t rows, int64_t columns)
      : weight(make_layout(CUDA_R_16BF, columns, static_cast<uint64_t>(rows))),
        x(make_layout(CUDA_R_16BF, columns, kUsualTokens)),
        out(make_layout(CUDA_R_32F, rows, kUsualTokens)) {
    CUBLAS_CHECK(cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    const cublasOperation_t transpose = CUBLAS_OP_T;
    CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSA, &transpose,
                                                sizeof(transpose)));
  }
  ~Plan() {
    static_cast<void>(cublasLtMatrixLayoutDestroy(weight));
    static_cast<void>(cublasLtMatrixLayoutDestroy(x));
    static_cast<void>(cublasLtMatrixLayoutDestroy(out));
    static_cast<void>(cublasLtMatmulDescDestroy(product));
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  void set_tokens(uint64_t tokens) {
    for (cublasLtMatrixLayout_t layout : {x, out}) {
      CUBLAS_CHECK(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_COLS, &tokens,
                                                    sizeof(tokens)));
    }
  }

  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t weight;
  cublasLtMatrixLayout_t x;
  cublasLtMatrixLayout_t out;
  cublasLtMatmulAlgo_t algorithm{};
};

namespace {

cublasLtMatmulPreference_t make_preference(int64_t rows) {
  cublasLtMatmulPreference_t preference = nullptr;
  CUBLAS_CHECK(cublasLtMatmulPreferenceCreate(&preference));
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    CUBLAS_CHECK(
        cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value)));
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{kGemmWorkspace});
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE});
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, kRowAlignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, kRowAlignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of_out(rows));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of_out(rows));
  return preference;
}

template <typename T>
std::optional<T> configured(const cublasLtMatmulAlgo_t& algorithm,
                            cublasLtMatmulAlgoConfigAttributes_t attribute) {
  T value{};
  size_t written = 0;
  if (cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value, sizeof(value),
                                           &written) != CUBLAS_STATUS_SUCCESS) {
    return std::nullopt;
  }
  return value;
}

bool sums_in_one_order(const cublasLtMatmulAlgo_t& algorithm) {
  const auto split_k = configured<int32_t>(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM);
  const auto scheme = configured<uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME);
  return split_k.value_or(1) <= 1 &&
         scheme.value_or(CUBLASLT_REDUCTION_SCHEME_NONE) == CUBLASLT_REDUCTION_SCHEME_NONE;
}

}  // namespace

Gemm::Gemm() {
  cublasLtHandle_t handle = nullptr;
  CUBLAS_CHECK(cublasLtCreate(&handle));
  handle_ = handle;
}

Gemm::~Gemm() { static_cast<void>(cublasLtDestroy(static_cast<cublasLtHandle_t>(handle_))); }

std::unique_ptr<Gemm::Plan> Gemm::find_plan(int64_t rows, int64_t columns) const {
  if (columns % (kRowAlignment / sizeof(bf16)) != 0) return nullptr;
  auto* handle = static_cast<cublasLtHandle_t>(handle_);
  auto plan = std::make_unique<Plan>(rows, columns);
  std::array<cublasLtMatmulHeuristicResult_t, kCandidates> candidates{};
  int found = 0;
  cublasLtMatmulPreference_t preference = make_preference(rows);
  const cublasStatus_t asked =
      cublasLtMatmulAlgoGetHeuristic(handle, plan->product, plan->weight, plan->x, plan->out,
                                     plan->out, preference, kCandidates, candidates.data(), &found);
  CUBLAS_CHECK(cublasLtMatmulPreferenceDestroy(preference));
  if (asked != CUBLAS_STATUS_SUCCESS) return nullptr;
  const auto serves = [&](const cublasLtMatmulAlgo_t& algorithm, uint64_t tokens) {
    plan->set_tokens(tokens);
    cublasLtMatmulHeuristicResult_t result{};
    return cublasLtMatmulAlgoCheck(handle, plan->product, plan->weight, plan->x, plan->out,
                                   plan->out, &algorithm, &result) == CUBLAS_STATUS_SUCCESS &&
           result.workspaceSize <= kGemmWorkspace;
  };
  for (size_t i = 0; i < static_cast<size_t>(found); ++i) {
    if (candidates[i].state != CUBLAS_STATUS_SUCCESS) continue;
    plan->algorithm = candidates[i].algo;
    bool good = sums_in_one_order(plan->algorithm) && serves(plan->algorithm, kUsualTokens);
    for (const uint64_t tokens : kOtherTokens) good = good && serves(plan->algorithm, tokens);
    if (good) return plan;
  }
  return nullptr;
}

bool Gemm::prepare(int64_t rows, int64_t columns) {
  const auto key = std::pair(rows, columns);
  auto found = plans_.find(key);
  if (found == plans_.end()) found = plans_.emplace(key, find_plan(rows, columns)).first;
  return found->second != nullptr;
}

void Gemm::run(const GemmArgs& args, CUstream_st* stream) {
  Plan* plan = plans_.at({args.rows, args.columns}).get();
  CHECK(plan != nullptr);
  CHECK_EQ(reinterpret_cast<uintptr_t>(args.x) % kRowAlignment, 0U);
  CHECK_EQ(reinterpret_cast<uintptr_t>(args.weight) % kRowAlignment, 0U);
  CHECK_EQ(reinterpret_cast<uintptr_t>(args.out) % alignment_of_out(args.rows), 0U);
  plan->set_tokens(static_cast<uint64_t>(args.num_tokens));
  const float alpha = 1;
  const float beta = args.accumulate ? 1 : 0;
  CUBLAS_CHECK(cublasLtMatmul(static_cast<cublasLtHandle_t>(handle_), plan->product, &alpha,
                              args.weight, plan->weight, args.x, plan->x, &beta, args.out,
                              plan->out, args.out, plan->out, &plan->algorithm, args.workspace,
                              kGemmWorkspace, stream));
}

}  // namespace lserve::cuda
