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
// Rows of x that are tried, beside all numbers up to kAllTokens.
constexpr int64_t kAllTokens = 33;
constexpr std::array<int64_t, 12> kSomeTokens = {48,  60,  64,  65,  100, 127,
                                                 128, 129, 256, 300, 500, 512};
// Memory lies no better than callers must lay it.
constexpr int64_t kOffset = kGemmAlignment;

}  // namespace

// Random numbers, and the results of a product of them that others must have too. As many rows as
// kMostTrialBytes allow.
class Gemm::Bench {
 public:
  Bench(const Gemm& gemm, Plan* plan, const GemmTrial& trial)
      : gemm_(gemm), plan_(plan), stream_(trial.stream), watch_(trial.stream) {
    const int64_t row_in = plan->columns * gemm_input_bytes(plan->type);
    const int64_t row_out = plan->rows * gemm_output_bytes(plan->type);
    const int64_t usual = kGemmTiers.back().usual_tokens;
    int64_t room = kMostTrialBytes - (plan->rows + usual) * 4 - 8 * kOffset;
    if (trial.weight == nullptr) room -= plan->rows * row_in;
    compared_ = std::min(kComparedTokens, room / (row_in + 2 * row_out));
    if (compared_ < step()) return;
    most_ = std::min(usual, (room - compared_ * row_out) / (row_in + row_out));
    compared_ = compared_ / step() * step();
    most_ = most_ / step() * step();
    out_offset_ = gemm_output_alignment(plan->type, plan->rows);
    ok_ = take(&x_, most_ * row_in + kOffset) && take(&out_, most_ * row_out + out_offset_) &&
          take(&expected_, compared_ * row_out + out_offset_) &&
          take(&workspace_, kGemmWorkspace) && take(&differs_, sizeof(uint32_t)) &&
          take(&scales_, (plan->rows + most_) * 4) &&
          (trial.weight != nullptr || take(&own_weight_, plan->rows * row_in));
    if (!ok_) return;
    weight_ = trial.weight != nullptr ? trial.weight : own_weight_.data();
    fill_trial(plan->type, weight_, plan->rows * plan->columns, 1, stream_);
    fill_trial(plan->type, x(), most_ * plan->columns, 2, stream_);
    // Bytes of 0.747.
    CUDA_CHECK(cudaMemsetAsync(scales_.data(), 0x3F, scales_.bytes(), stream_));
  }

  bool ok() const { return ok_; }
  int64_t most_tokens() const { return most_; }

  // Numbers of rows are multiples of it.
  int64_t step() const { return plan_->type == GemmType::kInt8 ? kInt8Rows : 1; }

  bool multiply(const cublasLtMatmulAlgo_t& algorithm, int64_t tokens, std::byte* to,
                bool accumulate = false) {
    const GemmArgs args{.type = plan_->type,
                        .x = x(),
                        .num_tokens = tokens,
                        .weight = weight_,
                        .rows = plan_->rows,
                        .columns = plan_->columns,
                        .out = to,
                        .accumulate = accumulate,
                        .x_scales = scales_.as<float>() + plan_->rows,
                        .weight_scales = scales_.as<float>(),
                        .workspace = workspace_.data()};
    return gemm_.multiply(*plan_, algorithm, args, stream_);
  }
  // False if cuBLASLt refuses it, or would refuse to add to a result.
  bool expect(const cublasLtMatmulAlgo_t& algorithm) {
    return multiply(algorithm, compared_, out(), true) &&
           multiply(algorithm, step(), out(), true) && multiply(algorithm, compared_, expected());
  }
  // Whether its rows are those expected, if there are so many, whatever comes along.
  bool agrees(const cublasLtMatmulAlgo_t& algorithm, int64_t most_tokens) {
    const int64_t most = std::min(most_tokens, most_);
    CUDA_CHECK(cudaMemsetAsync(differs_.data(), 0, sizeof(uint32_t), stream_));
    bool served = agrees_on(algorithm, most);
    for (int64_t n = 1; n <= std::min(kAllTokens, most) && served; ++n) {
      served = agrees_on(algorithm, n);
    }
    for (const int64_t n : kSomeTokens) {
      if (n <= most && served) served = agrees_on(algorithm, n);
    }
    return served && is_zero(differs_.as<uint32_t>(), stream_);
  }
  double seconds(const cublasLtMatmulAlgo_t& algorithm, int64_t tokens) {
    double least = std::numeric_limits<double>::infinity();
    for (int i = 0; i < kTrialRuns; ++i) {
      bool served = true;
      const double seconds = watch_.seconds([&] { served = multiply(algorithm, tokens, out()); });
      if (!served) return std::numeric_limits<double>::infinity();
      least = std::min(least, seconds);
    }
    return least;
  }

 private:
  std::byte* x() const { return x_.as<std::byte>() + kOffset; }
  std::byte* out() const { return out_.as<std::byte>() + out_offset_; }
  std::byte* expected() const { return expected_.as<std::byte>() + out_offset_; }

  // Differences wait to be looked at.
  bool agrees_on(const cublasLtMatmulAlgo_t& algorithm, int64_t tokens) {
    if (tokens % step() != 0) return true;
    if (!multiply(algorithm, tokens, out())) return false;
    const int64_t bytes =
        std::min(tokens, compared_) * plan_->rows * gemm_output_bytes(plan_->type);
    note_difference(out(), expected(), bytes, differs_.as<uint32_t>(), stream_);
    return true;
  }
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
  int64_t out_offset_ = 0;
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
    return bench.expect(algorithm) && bench.agrees(algorithm, bench.most_tokens());
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
  const int64_t above = tier == 0 ? 0 : kGemmTiers[tier - 1].most_tokens;
  const int64_t timed = std::min(usual, bench->most_tokens());
  if (timed <= above) return;
  const std::array<int64_t, 2> others = {most, timed};
  auto list = candidates(plan, usual, others);
  if (list.size() > kTrials) list.resize(kTrials);
  const cublasLtMatmulAlgo_t* next = &plan->algorithm;
  for (size_t i = kGemmTiers.size(); --i > tier;) {
    if (plan->of_tiers[i].has_value()) next = &*plan->of_tiers[i];
  }
  double least = bench->seconds(*next, timed);
  for (const cublasLtMatmulAlgo_t& algorithm : list) {
    const double seconds = bench->seconds(algorithm, timed);
    if (seconds >= least || !bench->agrees(algorithm, most)) continue;
    least = seconds;
    plan->of_tiers[tier] = algorithm;
  }
}

}  // namespace lserve::cuda
