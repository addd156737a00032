#include "kernels/cuda/linear/gemm.h"

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <vector>

#include "base/check.h"
#include "base/log.h"
#include "base/strings.h"
#include "kernels/cuda/common/cublas_check.h"
#include "kernels/cuda/linear/gemm_plan.h"
#include "kernels/cuda/linear/plain_product.h"

namespace lserve::cuda {

namespace {

constexpr int64_t kUsualTokens = 8192;  // a slice (many_rows.h)
constexpr std::array<int64_t, 7> kOtherTokens = {1, 2, 9, 64, 300, 2048, 4096};
constexpr std::array<int64_t, 5> kOtherInt8Tokens = {kInt8Rows, 3 * kInt8Rows, 64, 496, 2048};
constexpr int kCandidates = 64;

cublasLtMatmulPreference_t make_preference(uint32_t output_alignment) {
  cublasLtMatmulPreference_t preference = nullptr;
  CUBLAS_CHECK(cublasLtMatmulPreferenceCreate(&preference));
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    CUBLAS_CHECK(
        cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value)));
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{kGemmWorkspace});
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE});
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, kGemmAlignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, kGemmAlignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, output_alignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, output_alignment);
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

// Shapes that cuBLASLt is not even asked for.
bool fits(GemmType type, int64_t rows, int64_t columns) {
  if (columns * gemm_input_bytes(type) % kGemmAlignment != 0) return false;
  if (type == GemmType::kInt8) return gemm_output_alignment(type, rows) == kGemmAlignment;
  const bool fp8 = type == GemmType::kFp8 || type == GemmType::kFp8Scaled;
  return !fp8 || rows % kGemmAlignment == 0;
}

}  // namespace

Gemm::Gemm() {
  cublasLtHandle_t handle = nullptr;
  CUBLAS_CHECK(cublasLtCreate(&handle));
  handle_ = handle;
}

Gemm::~Gemm() { static_cast<void>(cublasLtDestroy(static_cast<cublasLtHandle_t>(handle_))); }

std::vector<cublasLtMatmulAlgo_t> Gemm::candidates(Plan* plan, int64_t usual,
                                                   std::span<const int64_t> others) const {
  auto* handle = static_cast<cublasLtHandle_t>(handle_);
  std::array<cublasLtMatmulHeuristicResult_t, kCandidates> found{};
  int count = 0;
  cublasLtMatmulPreference_t preference =
      make_preference(gemm_output_alignment(plan->type, plan->rows));
  plan->set_tokens(usual);
  plan->set_out_stride(plan->rows);
  const cublasStatus_t asked =
      cublasLtMatmulAlgoGetHeuristic(handle, plan->product, plan->weight, plan->x, plan->out,
                                     plan->out, preference, kCandidates, found.data(), &count);
  CUBLAS_CHECK(cublasLtMatmulPreferenceDestroy(preference));
  if (asked != CUBLAS_STATUS_SUCCESS) return {};
  std::vector<cublasLtMatmulAlgo_t> good;
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    if (found[i].state != CUBLAS_STATUS_SUCCESS) continue;
    const cublasLtMatmulAlgo_t& algorithm = found[i].algo;
    const auto serves = [&](int64_t n) { return plan->serves(handle_, algorithm, n); };
    if (sums_in_one_order(algorithm) && serves(usual) && std::ranges::all_of(others, serves)) {
      good.push_back(algorithm);
    }
  }
  return good;
}

bool Gemm::prepare(GemmType type, int64_t rows, int64_t columns, const GemmTrial* trial) {
  const auto key = std::tuple(type, rows, columns);
  const auto found = plans_.find(key);
  if (found != plans_.end()) return found->second != nullptr;
  std::unique_ptr<Plan>& plan = plans_[key];
  if (!fits(type, rows, columns)) return false;
  auto made = std::make_unique<Plan>(type, rows, columns);
  const bool exact = type == GemmType::kInt8;
  const auto others =
      exact ? std::span<const int64_t>(kOtherInt8Tokens) : std::span<const int64_t>(kOtherTokens);
  const auto list = candidates(made.get(), kUsualTokens, others);
  if (list.empty()) return false;
  made->algorithm = list.front();
  if (trial != nullptr && !try_out(made.get(), list, *trial)) return false;
  plan = std::move(made);
  return true;
}

bool Gemm::has(GemmType type, int64_t rows, int64_t columns) const {
  const auto found = plans_.find({type, rows, columns});
  return found != plans_.end() && found->second != nullptr;
}

// False where cuBLASLt refuses; nothing is queued then.
bool Gemm::multiply(Plan& plan, const cublasLtMatmulAlgo_t& algorithm, const GemmArgs& args,
                    CUstream_st* stream) const {
  plan.set_tokens(args.num_tokens);
  plan.set_out_stride(args.out_stride == 0 ? args.rows : args.out_stride);
  if (plan.type == GemmType::kFp8Scaled) plan.set_scales(args.weight_scales, args.x_scales);
  const std::array<float, 2> floats = {1, args.accumulate ? 1.0F : 0.0F};
  const std::array<int32_t, 2> integers = {1, args.accumulate ? 1 : 0};
  const bool exact = args.type == GemmType::kInt8;
  const void* alpha = exact ? static_cast<const void*>(&integers[0]) : &floats[0];
  const void* beta = exact ? static_cast<const void*>(&integers[1]) : &floats[1];
  const cublasStatus_t status =
      cublasLtMatmul(static_cast<cublasLtHandle_t>(handle_), plan.product, alpha, args.weight,
                     plan.weight, args.x, plan.x, beta, args.out, plan.out, args.out, plan.out,
                     &algorithm, args.workspace, kGemmWorkspace, stream);
  if (status == CUBLAS_STATUS_INVALID_VALUE || status == CUBLAS_STATUS_NOT_SUPPORTED) return false;
  CUBLAS_CHECK(status);
  return true;
}

void Gemm::run(const GemmArgs& args, CUstream_st* stream) {
  Plan* plan = plans_.at({args.type, args.rows, args.columns}).get();
  CHECK(plan != nullptr);
  const auto misaligned = [](const void* p, uint32_t bytes) {
    return reinterpret_cast<uintptr_t>(p) % bytes;
  };
  CHECK_EQ(misaligned(args.x, kGemmAlignment), 0U);
  CHECK_EQ(misaligned(args.weight, kGemmAlignment), 0U);
  const uint32_t of_out = gemm_output_alignment(args.type, args.rows);
  CHECK_EQ(misaligned(args.out, of_out), 0U);
  CHECK_EQ(args.out_stride * gemm_output_bytes(args.type) % of_out, 0);
  const cublasLtMatmulAlgo_t& algorithm = plan->algorithm_of(handle_, args.num_tokens);
  if (multiply(*plan, algorithm, args, stream)) return;
  plan->chosen[args.num_tokens] = &plan->algorithm;
  if (multiply(*plan, plan->algorithm, args, stream)) return;
  // What a trial did not meet: cuBLASLt refuses a number of rows that it promised to serve.
  if (!plan->has_warned) {
    log_warning(cat("cuBLASLt refuses a product of ", args.rows, " x ", args.columns, " with ",
                    args.num_tokens, " rows of type ", static_cast<int>(args.type),
                    args.accumulate ? ", added to a result" : "", "; a slow kernel multiplies"));
  }
  plan->has_warned = true;
  plain_product(args, stream);
}

}  // namespace lserve::cuda
