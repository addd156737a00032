// Trials of cuBLASLt's algorithms when the first weight of a shape is made: which keep a row's bits
// whatever comes along, and which of those are faster for fewer rows.
#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "kernels/cuda/common/cublas_check.h"
#include "kernels/cuda/common/stopwatch.h"
#include "kernels/cuda/linear/gemm_plan.h"
#include "kernels/cuda/linear/trial_numbers.h"
#include "tensor/cuda/device_memory.h"

namespace lserve::cuda {

namespace {

constexpr size_t kTrials = 12;            // candidates of a tier
constexpr int kTrialRuns = 4;             // the fastest counts
constexpr int64_t kComparedTokens = 512;  // rows of results that are compared, at the most
constexpr std::array<int64_t, 4> kFewTokens = {1, 9, 60, 300};

}  // namespace

// Random numbers, and the results of a product of them that others must have too. As many rows as
// kMostTrialBytes allow.
class Gemm::Bench {
 public:
  Bench(const Gemm& gemm, Plan* plan, const GemmTrial& trial)
      : gemm_(gemm), plan_(plan), stream_(trial.stream), watch_(trial.stream) {
    const int64_t row_in = plan->columns * gemm_input_bytes(plan->type);
    const int64_t row_out = plan->rows * gemm_output_bytes(plan->type);
    int64_t room = kMostTrialBytes - (plan->rows + kGemmTiers.back().usual_tokens) * 4;
    if (trial.weight == nullptr) room -= plan->rows * row_in;
    compared_ = std::min(kComparedTokens, room / (row_in + 2 * row_out));
    if (compared_ < kFewTokens.front()) return;
    most_ = std::min<int64_t>(kGemmTiers.back().usual_tokens,
                              (room - compared_ * row_out) / (row_in + row_out));
    ok_ = take(&x_, most_ * row_in) && take(&out_, most_ * row_out) &&
          take(&expected_, compared_ * row_out) && take(&workspace_, kGemmWorkspace) &&
          take(&differs_, sizeof(uint32_t)) && take(&scales_, (plan->rows + most_) * 4) &&
          (trial.weight != nullptr || take(&own_weight_, plan->rows * row_in));
    if (!ok_) return;
    weight_ = trial.weight != nullptr ? trial.weight : own_weight_.data();
    fill_trial(plan->type, weight_, plan->rows * plan->columns, 1, stream_);
    fill_trial(plan->type, x_.data(), most_ * plan->columns, 2, stream_);
    // Bytes of 0.747.
    CUDA_CHECK(cudaMemsetAsync(scales_.data(), 0x3F, scales_.bytes(), stream_));
  }

  bool ok() const { return ok_; }
  int64_t most_tokens() const { return most_; }

  bool multiply(const cublasLtMatmulAlgo_t& algorithm, int64_t tokens, void* out,
                bool accumulate = false) {
    const GemmArgs args{.type = plan_->type,
                        .x = x_.data(),
                        .num_tokens = tokens,
                        .weight = weight_,
                        .rows = plan_->rows,
                        .columns = plan_->columns,
                        .out = out,
                        .accumulate = accumulate,
                        .x_scales = scales_.as<float>() + plan_->rows,
                        .weight_scales = scales_.as<float>(),
                        .workspace = workspace_.data()};
    return gemm_.multiply(*plan_, algorithm, args, stream_);
  }
  // False if cuBLASLt refuses it, or would refuse to add to a result.
  bool expect(const cublasLtMatmulAlgo_t& algorithm) {
    return multiply(algorithm, compared_, out_.data(), true) &&
           multiply(algorithm, compared_, expected_.data());
  }
  // Whether its rows are those expected, if there are so many.
  bool agrees(const cublasLtMatmulAlgo_t& algorithm, int64_t tokens) {
    if (!multiply(algorithm, tokens, out_.data())) return false;
    const int64_t bytes =
        std::min(tokens, compared_) * plan_->rows * gemm_output_bytes(plan_->type);
    return same_bytes(out_.data(), expected_.data(), bytes, differs_.as<uint32_t>(), stream_);
  }
  double seconds(const cublasLtMatmulAlgo_t& algorithm, int64_t tokens) {
    double least = std::numeric_limits<double>::infinity();
    for (int i = 0; i < kTrialRuns; ++i) {
      bool served = true;
      const double seconds =
          watch_.seconds([&] { served = multiply(algorithm, tokens, out_.data()); });
      if (!served) return std::numeric_limits<double>::infinity();
      least = std::min(least, seconds);
    }
    return least;
  }

 private:
  bool take(Buffer* buffer, int64_t bytes) const {
    auto memory = allocate_device(static_cast<size_t>(bytes), stream_);
    if (!memory.ok()) return false;
    *buffer = std::move(*memory);
    return true;
  }

  const Gemm& gemm_;
  Plan* plan_;
  CUstream_st* stream_;
  Stopwatch watch_;
  bool ok_ = false;
  int64_t compared_ = 0;
  int64_t most_ = 0;
  void* weight_ = nullptr;
  Buffer own_weight_;
  Buffer x_;
  Buffer out_;
  Buffer expected_;
  Buffer scales_;  // of the rows of the weight, of x
  Buffer differs_;
  Buffer workspace_;
};

bool Gemm::try_out(Plan* plan, const std::vector<cublasLtMatmulAlgo_t>& list,
                   const GemmTrial& trial) const {
  Bench bench(*this, plan, trial);
  if (!bench.ok()) return true;
  const auto keeps_bits = [&](const cublasLtMatmulAlgo_t& algorithm) {
    if (!bench.expect(algorithm)) return false;
    return std::ranges::all_of(kFewTokens, [&](int64_t n) {
      return n > bench.most_tokens() || bench.agrees(algorithm, n);
    });
  };
  const auto found = std::ranges::find_if(list, keeps_bits);
  if (found == list.end()) return false;
  plan->algorithm = *found;
  for (size_t i = kGemmTiers.size(); i-- > 0;) find_tier(plan, i, &bench);
  return true;
}

// The fastest of those that agree. So it does not show which one that is, and none is no failure.
void Gemm::find_tier(Plan* plan, size_t tier, Bench* bench) const {
  const auto [most, usual] = kGemmTiers[tier];
  const uint64_t above = tier == 0 ? 0 : kGemmTiers[tier - 1].most_tokens;
  const int64_t timed = std::min(static_cast<int64_t>(usual), bench->most_tokens());
  if (timed <= static_cast<int64_t>(above)) return;
  std::array<uint64_t, 2> others = {most, static_cast<uint64_t>(timed)};
  auto list = candidates(plan, usual, others);
  if (list.size() > kTrials) list.resize(kTrials);
  const cublasLtMatmulAlgo_t* next = &plan->algorithm;
  for (size_t i = kGemmTiers.size(); --i > tier;) {
    if (plan->of_tiers[i].has_value()) next = &*plan->of_tiers[i];
  }
  double least = bench->seconds(*next, timed);
  for (const cublasLtMatmulAlgo_t& algorithm : list) {
    const double seconds = bench->seconds(algorithm, timed);
    if (seconds >= least || !bench->agrees(algorithm, timed)) continue;
    const auto agrees = [&](int64_t n) { return n > timed || bench->agrees(algorithm, n); };
    if (!std::ranges::all_of(kFewTokens, agrees)) continue;
    least = seconds;
    plan->of_tiers[tier] = algorithm;
  }
}

}  // namespace lserve::cuda
