#include "kernels/cuda/ceilings/fastest_product.h"

#include <array>
#include <limits>
#include <vector>

#include "base/strings.h"
#include "kernels/cuda/common/cublas_check.h"
#include "kernels/cuda/common/stopwatch.h"

namespace lserve::cuda {

namespace {

constexpr int kCandidates = 16;
constexpr int kTrials = 3;

cublasLtMatrixLayout_t make_layout(int64_t rows, int64_t columns) {
  cublasLtMatrixLayout_t layout = nullptr;
  CUBLAS_CHECK(cublasLtMatrixLayoutCreate(&layout, CUDA_R_16BF, static_cast<uint64_t>(rows),
                                          static_cast<uint64_t>(columns), rows));
  return layout;
}

}  // namespace

// As in linear/gemm.cc: cuBLASLt counts columns first, so out^T = (W^T)^T x^T.
struct FastestProduct::Plan {
  Plan(const ProductShape& shape, const ProductData& its_data, cudaStream_t its_stream)
      : data(its_data),
        weights(its_data.weights.begin(), its_data.weights.end()),
        stream(its_stream),
        weight(make_layout(shape.columns, shape.rows)),
        x(make_layout(shape.columns, shape.num_tokens)),
        out(make_layout(shape.rows, shape.num_tokens)) {
    CUBLAS_CHECK(cublasLtCreate(&handle));
    CUBLAS_CHECK(cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    const cublasOperation_t transpose = CUBLAS_OP_T;
    CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSA, &transpose,
                                                sizeof(transpose)));
  }
  ~Plan() {
    static_cast<void>(cublasLtMatmulDescDestroy(product));
    for (cublasLtMatrixLayout_t layout : {weight, x, out}) {
      static_cast<void>(cublasLtMatrixLayoutDestroy(layout));
    }
    static_cast<void>(cublasLtDestroy(handle));
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  std::vector<cublasLtMatmulAlgo_t> candidates() const {
    cublasLtMatmulPreference_t preference = nullptr;
    CUBLAS_CHECK(cublasLtMatmulPreferenceCreate(&preference));
    const uint64_t workspace = kProductWorkspace;
    CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(
        preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof(workspace)));
    std::array<cublasLtMatmulHeuristicResult_t, kCandidates> found{};
    int count = 0;
    const cublasStatus_t asked = cublasLtMatmulAlgoGetHeuristic(
        handle, product, weight, x, out, out, preference, kCandidates, found.data(), &count);
    CUBLAS_CHECK(cublasLtMatmulPreferenceDestroy(preference));
    std::vector<cublasLtMatmulAlgo_t> list;
    for (int i = 0; asked == CUBLAS_STATUS_SUCCESS && i < count; ++i) {
      const auto& candidate = found[static_cast<size_t>(i)];
      if (candidate.state == CUBLAS_STATUS_SUCCESS) list.push_back(candidate.algo);
    }
    return list;
  }

  cublasStatus_t run(size_t i, const cublasLtMatmulAlgo_t& with) const {
    const float alpha = 1;
    const float beta = 0;
    return cublasLtMatmul(handle, product, &alpha, weights[i], weight, data.x, x, &beta, data.out,
                          out, data.out, out, &with, data.workspace, kProductWorkspace, stream);
  }

  // Of one round over the weights; infinite if the algorithm refuses.
  double seconds(const cublasLtMatmulAlgo_t& with, Stopwatch* stopwatch) const {
    for (size_t i = 0; i < weights.size(); ++i) {
      if (run(i, with) != CUBLAS_STATUS_SUCCESS) return std::numeric_limits<double>::infinity();
    }
    return stopwatch->median_seconds(0, kTrials, [&] {
      for (size_t i = 0; i < weights.size(); ++i) CUBLAS_CHECK(run(i, with));
    });
  }

  ProductData data;
  std::vector<const bf16*> weights;
  cudaStream_t stream;
  cublasLtHandle_t handle = nullptr;
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t weight;
  cublasLtMatrixLayout_t x;
  cublasLtMatrixLayout_t out;
  cublasLtMatmulAlgo_t algorithm{};
};

FastestProduct::FastestProduct(std::unique_ptr<Plan> plan) : plan_(std::move(plan)) {}
FastestProduct::~FastestProduct() = default;

Result<std::unique_ptr<FastestProduct>> FastestProduct::create(const ProductShape& shape,
                                                               const ProductData& data,
                                                               cudaStream_t stream) {
  std::unique_ptr<FastestProduct> made(
      new FastestProduct(std::make_unique<Plan>(shape, data, stream)));
  Plan* plan = made->plan_.get();
  Stopwatch stopwatch(stream);
  double best = std::numeric_limits<double>::infinity();
  for (const cublasLtMatmulAlgo_t& candidate : plan->candidates()) {
    const double seconds = plan->seconds(candidate, &stopwatch);
    if (!(seconds < best)) continue;
    best = seconds;
    plan->algorithm = candidate;
  }
  if (best == std::numeric_limits<double>::infinity()) {
    return runtime_error(cat("cuBLASLt has no algorithm for the product of ", shape.num_tokens,
                             " rows with ", shape.rows, " x ", shape.columns));
  }
  return made;
}

void FastestProduct::run(size_t i) { CUBLAS_CHECK(plan_->run(i, plan_->algorithm)); }

}  // namespace lserve::cuda
