#include "kernels/cuda/linear/gemm.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "base/check.h"
#include "kernels/cuda/common/cublas_check.h"
#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/common/stopwatch.h"
#include "kernels/cuda/random_weight/random_weight.h"
#include "tensor/cuda/device_memory.h"

namespace lserve::cuda {

namespace {

constexpr uint64_t kUsualTokens = 2048;  // a chunk of a prompt
constexpr std::array<uint64_t, 6> kOtherTokens = {1, 2, 9, 64, 300, 4096};
constexpr uint64_t kUsualInt8Tokens = 512;
constexpr std::array<uint64_t, 4> kOtherInt8Tokens = {kInt8Rows, 3 * kInt8Rows, 64, 496};
constexpr int kCandidates = 64;

// Up to so many rows of x, another algorithm is faster: that for a usual number of them.
struct Tier {
  uint64_t most_tokens;
  uint64_t usual_tokens;
};
constexpr std::array<Tier, 3> kTiers = {{{64, 48}, {256, 192}, {1024, 768}}};
constexpr int kTrials = 12;           // candidates of a tier
constexpr int kTrialRuns = 4;         // the fastest counts
constexpr int64_t kTrialTokens = 60;  // rows of x of a trial
constexpr int64_t kMostTimedTokens = 768;
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

constexpr cudaDataType_t type_in(GemmType type) {
  return type == GemmType::kInt8 ? CUDA_R_8I : CUDA_R_16BF;
}
// Of sums, and of the factors alpha and beta.
constexpr cudaDataType_t type_out(GemmType type) {
  return type == GemmType::kInt8 ? CUDA_R_32I : CUDA_R_32F;
}
constexpr int64_t bytes_in(GemmType type) { return type == GemmType::kInt8 ? 1 : 2; }

}  // namespace

// cuBLASLt counts columns first: W^T is its [columns, rows], x^T [columns, tokens] and out^T
// [rows, tokens], all without gaps; out^T = (W^T)^T x^T.
struct Gemm::Plan {
  Plan(GemmType type, int64_t rows, int64_t columns)
      : weight(make_layout(type_in(type), columns, static_cast<uint64_t>(rows))),
        x(make_layout(type_in(type), columns, kUsualTokens)),
        out(make_layout(type_out(type), rows, kUsualTokens)) {
    const auto compute = type == GemmType::kInt8 ? CUBLAS_COMPUTE_32I : CUBLAS_COMPUTE_32F;
    CUBLAS_CHECK(cublasLtMatmulDescCreate(&product, compute, type_out(type)));
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
  // Whether cuBLASLt runs the algorithm with that many rows of x: what it needs may depend on them.
  bool serves(void* handle, const cublasLtMatmulAlgo_t& a, uint64_t tokens) {
    set_tokens(tokens);
    cublasLtMatmulHeuristicResult_t result{};
    return cublasLtMatmulAlgoCheck(static_cast<cublasLtHandle_t>(handle), product, weight, x, out,
                                   out, &a, &result) == CUBLAS_STATUS_SUCCESS &&
           result.workspaceSize <= kGemmWorkspace;
  }

  // The first that its tier allows and that serves them.
  const cublasLtMatmulAlgo_t& algorithm_of(void* handle, uint64_t tokens) {
    if (tokens > kTiers.back().most_tokens) return algorithm;
    const auto known = chosen.find(tokens);
    if (known != chosen.end()) return *known->second;
    const cublasLtMatmulAlgo_t* found = &algorithm;
    for (size_t i = kTiers.size(); i-- > 0;) {
      if (tokens <= kTiers[i].most_tokens && of_tiers[i].has_value() &&
          serves(handle, *of_tiers[i], tokens)) {
        found = &*of_tiers[i];
      }
    }
    chosen.emplace(tokens, found);
    return *found;
  }

  cublasLtMatmulAlgo_t algorithm{};  // for any number of rows
  std::array<std::optional<cublasLtMatmulAlgo_t>, kTiers.size()> of_tiers;
  std::map<uint64_t, const cublasLtMatmulAlgo_t*> chosen;  // by numbers of rows of x
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

std::vector<cublasLtMatmulAlgo_t> Gemm::candidates(Plan* plan, int64_t rows, uint64_t usual,
                                                   std::span<const uint64_t> others) const {
  auto* handle = static_cast<cublasLtHandle_t>(handle_);
  std::array<cublasLtMatmulHeuristicResult_t, kCandidates> found{};
  int count = 0;
  cublasLtMatmulPreference_t preference = make_preference(rows);
  plan->set_tokens(usual);
  const cublasStatus_t asked =
      cublasLtMatmulAlgoGetHeuristic(handle, plan->product, plan->weight, plan->x, plan->out,
                                     plan->out, preference, kCandidates, found.data(), &count);
  CUBLAS_CHECK(cublasLtMatmulPreferenceDestroy(preference));
  if (asked != CUBLAS_STATUS_SUCCESS) return {};
  std::vector<cublasLtMatmulAlgo_t> good;
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    if (found[i].state != CUBLAS_STATUS_SUCCESS) continue;
    const cublasLtMatmulAlgo_t& algorithm = found[i].algo;
    const auto serves = [&](uint64_t n) { return plan->serves(handle_, algorithm, n); };
    if (sums_in_one_order(algorithm) && serves(usual) && std::ranges::all_of(others, serves)) {
      good.push_back(algorithm);
    }
  }
  return good;
}

// Both products are made of the same random numbers; what has other sums on any of them is not
// taken, and of the rest the fastest. So it does not show which one that is, and none is no
// failure.
void Gemm::find_tiers(Plan* plan, const GemmTrial& trial, int64_t rows, int64_t columns) const {
  const auto size = static_cast<size_t>(kTrialTokens * rows);
  auto x =
      allocate_device(static_cast<size_t>(kMostTimedTokens * columns) * sizeof(bf16), trial.stream);
  auto out =
      allocate_device(static_cast<size_t>(kMostTimedTokens * rows) * sizeof(float), trial.stream);
  auto workspace = allocate_device(kGemmWorkspace, trial.stream);
  if (!x.ok() || !out.ok() || !workspace.ok()) return;
  fill_random(trial.weight, rows * columns, 1, 1.0F, trial.stream);
  fill_random(x->as<bf16>(), kMostTimedTokens * columns, 2, 1.0F, trial.stream);
  GemmArgs args{.x = x->data(),
                .num_tokens = kTrialTokens,
                .weight = trial.weight,
                .rows = rows,
                .columns = columns,
                .out = out->data(),
                .accumulate = false,
                .workspace = workspace->data()};
  const auto sums_of = [&](const cublasLtMatmulAlgo_t& algorithm) {
    args.num_tokens = kTrialTokens;
    std::vector<float> sums(size);
    if (!multiply(*plan, algorithm, args, trial.stream)) return std::vector<float>();
    CUDA_CHECK(cudaMemcpyAsync(sums.data(), args.out, size * sizeof(float), cudaMemcpyDeviceToHost,
                               trial.stream));
    CUDA_CHECK(cudaStreamSynchronize(trial.stream));
    return sums;
  };
  Stopwatch watch(trial.stream);
  bool served = true;
  const auto seconds_of = [&](const cublasLtMatmulAlgo_t& algorithm, uint64_t tokens) {
    args.num_tokens = static_cast<int64_t>(tokens);
    double least = std::numeric_limits<double>::infinity();
    for (int i = 0; i < kTrialRuns; ++i) {
      least = std::min(least, watch.seconds([&] {
        served = multiply(*plan, algorithm, args, trial.stream) && served;
      }));
    }
    return least;
  };
  const std::vector<float> expected = sums_of(plan->algorithm);
  if (expected.size() != size) return;
  for (size_t i = 0; i < kTiers.size(); ++i) {
    const uint64_t usual = kTiers[i].usual_tokens;
    const std::array<uint64_t, 2> others = {kTrialTokens, kTiers[i].most_tokens};
    auto list = candidates(plan, rows, usual, others);
    if (list.size() > kTrials) list.resize(kTrials);
    double least = seconds_of(plan->algorithm, usual);
    for (const cublasLtMatmulAlgo_t& algorithm : list) {
      const std::vector<float> sums = sums_of(algorithm);
      if (sums.size() != size) continue;
      if (std::memcmp(sums.data(), expected.data(), size * sizeof(float)) != 0) continue;
      served = true;
      const double seconds = seconds_of(algorithm, usual);
      if (!served || seconds >= least) continue;
      least = seconds;
      plan->of_tiers[i] = algorithm;
    }
  }
}

bool Gemm::prepare(GemmType type, int64_t rows, int64_t columns, const GemmTrial* trial) {
  const auto key = std::tuple(type, rows, columns);
  const auto found = plans_.find(key);
  if (found != plans_.end()) return found->second != nullptr;
  std::unique_ptr<Plan>& plan = plans_[key];
  if (columns * bytes_in(type) % kRowAlignment != 0) return false;
  if (type == GemmType::kInt8 && alignment_of_out(rows) != kRowAlignment) return false;
  auto made = std::make_unique<Plan>(type, rows, columns);
  const auto list = type == GemmType::kInt8
                        ? candidates(made.get(), rows, kUsualInt8Tokens, kOtherInt8Tokens)
                        : candidates(made.get(), rows, kUsualTokens, kOtherTokens);
  if (list.empty()) return false;
  made->algorithm = list.front();
  plan = std::move(made);
  if (trial != nullptr) find_tiers(plan.get(), *trial, rows, columns);
  return true;
}

// False where cuBLASLt refuses; nothing is queued then.
bool Gemm::multiply(Plan& plan, const cublasLtMatmulAlgo_t& algorithm, const GemmArgs& args,
                    CUstream_st* stream) const {
  plan.set_tokens(static_cast<uint64_t>(args.num_tokens));
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
  CHECK_EQ(reinterpret_cast<uintptr_t>(args.x) % kRowAlignment, 0U);
  CHECK_EQ(reinterpret_cast<uintptr_t>(args.weight) % kRowAlignment, 0U);
  CHECK_EQ(reinterpret_cast<uintptr_t>(args.out) % alignment_of_out(args.rows), 0U);
  const auto tokens = static_cast<uint64_t>(args.num_tokens);
  const cublasLtMatmulAlgo_t& algorithm = plan->algorithm_of(handle_, tokens);
  if (multiply(*plan, algorithm, args, stream)) return;
  CHECK(&algorithm != &plan->algorithm && "cuBLASLt refuses what it promised");
  plan->chosen[tokens] = &plan->algorithm;
  CHECK(multiply(*plan, plan->algorithm, args, stream));
}

}  // namespace lserve::cuda
