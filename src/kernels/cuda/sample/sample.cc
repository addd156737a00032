// From logits to tokens. Contract: kernels/sample.h.
//
// The logits stay on the device: rows' parameters go there, tokens and log-probabilities come back.
// Every row is first decided greedily, which also says whether it is finite; the rows that draw go
// on from there.
#include "kernels/sample.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/checked_math.h"
#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/sample/sample_kernels.h"
#include "kernels/host/host_ops.h"

namespace lserve::cuda {

namespace {

bool draws(const SampleRow& row) { return row.sampling.temperature > 0; }

int64_t num_parts_of(int64_t vocab_size) { return ceil_div(vocab_size, int64_t{kPartTokens}); }

size_t draw_bytes(int64_t num_drawn, int64_t vocab_size) {
  constexpr auto kOfRow = static_cast<int64_t>(sizeof(DrawState) + kNumBins * sizeof(uint64_t));
  constexpr auto kOfPart = static_cast<int64_t>(sizeof(uint64_t) + sizeof(int32_t));
  return static_cast<size_t>(num_drawn * (kOfRow + num_parts_of(vocab_size) * kOfPart));
}

DrawRow draw_row(const SampleRow& row, int64_t index, int64_t vocab_size) {
  const SamplingParams& s = row.sampling;
  DrawRow draw;
  draw.row = static_cast<int32_t>(index);
  if (s.top_k > 0 && s.top_k < vocab_size) draw.top_k = s.top_k;
  draw.temperature = static_cast<double>(s.temperature);
  draw.log_min_p = std::log(static_cast<double>(std::max(0.0F, s.min_p)));
  draw.top_p = std::min(1.0, static_cast<double>(s.top_p));
  draw.weight_unit = std::ldexp(1.0, weight_bits(draw.top_k > 0 ? draw.top_k : vocab_size));
  // uniform() has 53 bits.
  draw.random = static_cast<uint64_t>(host::uniform_of(s.seed, row.position) * 0x1p53) << 11;
  return draw;
}

void queue_draws(const SampleParams& params, int64_t num_drawn, int32_t* tokens, Context* context) {
  const int64_t vocab_size = params.logits.dim(1);
  auto* rows = context->sampling_in.of<DrawRow>(num_drawn);
  DrawFilters filters;
  int64_t n = 0;
  for (size_t i = 0; i < params.rows.size(); ++i) {
    if (!draws(params.rows[i])) continue;
    const DrawRow row = draw_row(params.rows[i], static_cast<int64_t>(i), vocab_size);
    filters.top_k |= row.top_k > 0;
    filters.top_p |= row.top_p < 1;
    rows[n++] = row;
  }
  const int64_t num_parts = num_parts_of(vocab_size);
  std::byte* scratch = context->draws.bytes(draw_bytes(num_drawn, vocab_size));
  auto* histograms = reinterpret_cast<uint64_t*>(scratch);
  uint64_t* part_above = histograms + num_drawn * kNumBins;
  auto* states = reinterpret_cast<DrawState*>(part_above + num_drawn * num_parts);
  const DrawArgs args{.logits = params.logits.as<float>(),
                      .vocab_size = static_cast<int32_t>(vocab_size),
                      .num_parts = static_cast<int32_t>(num_parts),
                      .rows = rows,
                      .tokens = tokens,
                      .states = states,
                      .histograms = histograms,
                      .part_above = part_above,
                      .part_equal = reinterpret_cast<int32_t*>(states + num_drawn)};
  draw_tokens(args, num_drawn, filters, context->stream);
}
static_assert(alignof(DrawState) <= sizeof(uint64_t), "the parts of the scratch are aligned");

}  // namespace

void sample(const SampleParams& params, Context* context) {
  CHECK(!context->recording);
  CHECK_EQ(params.rows.size(), params.tokens.size());
  const auto num_rows = static_cast<int64_t>(params.rows.size());
  CHECK_GE(params.logits.dim(0), num_rows);
  if (num_rows == 0) return;
  auto* tokens = context->sampling_out.of<int32_t>(num_rows);
  argmax_rows(params.logits.as<float>(), num_rows, params.logits.dim(1),
              context->arrivals.of<ArgmaxState>(num_rows), tokens, context->stream);
  const auto num_drawn = std::count_if(params.rows.begin(), params.rows.end(), draws);
  if (num_drawn > 0) queue_draws(params, num_drawn, tokens, context);
  CUDA_CHECK(cudaStreamSynchronize(context->stream));
  std::copy_n(tokens, params.tokens.size(), params.tokens.begin());
}

void log_probs(const LogProbParams& params, Context* context) {
  CHECK(!context->recording);
  CHECK_EQ(params.targets.size(), params.log_probs.size());
  const auto num_rows = static_cast<int64_t>(params.targets.size());
  CHECK_GE(params.logits.dim(0), num_rows);
  if (num_rows == 0) return;
  auto* targets = context->sampling_in.of<int32_t>(num_rows);
  auto* log_probs = context->sampling_out.of<double>(num_rows);
  for (size_t i = 0; i < params.targets.size(); ++i) {
    CHECK(params.targets[i] >= 0 && params.targets[i] < params.logits.dim(1));
    targets[i] = params.targets[i];
  }
  log_probs_of_rows(params.logits.as<float>(), num_rows, params.logits.dim(1), targets, log_probs,
                    context->stream);
  CUDA_CHECK(cudaStreamSynchronize(context->stream));
  std::copy_n(log_probs, params.log_probs.size(), params.log_probs.begin());
}

void size_sampling(const ScratchLimits& limits, ScratchSizes* sizes) {
  const auto rows = static_cast<size_t>(limits.num_logit_rows);
  sizes->arrivals = std::max(sizes->arrivals, rows * sizeof(ArgmaxState));
  sizes->draws = draw_bytes(limits.num_logit_rows, limits.vocab_size);
  sizes->sampling_in = rows * std::max(sizeof(DrawRow), sizeof(int32_t));
  sizes->sampling_out = rows * std::max(sizeof(int32_t), sizeof(double));
}

}  // namespace lserve::cuda
