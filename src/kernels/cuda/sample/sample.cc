// From logits to tokens. Contract: kernels/sample.h.
//
// Greedy rows are decided on the device and only their tokens come back. All others come to the
// host whole, for the implementation that the host's backends use: so that a seed gives the same
// token everywhere.
#include "kernels/sample.h"

#include <vector>

#include "base/check.h"
#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/sample/sample_kernels.h"
#include "kernels/host/host_ops.h"

namespace lserve::cuda {

namespace {

bool is_greedy(const SampleRow& row) { return !(row.sampling.temperature > 0); }

// Queues the copy of some rows, next to each other.
float* copy_rows(const TensorView& logits, std::span<const size_t> rows, Context* context) {
  const int64_t vocab_size = logits.dim(1);
  const auto row_size = static_cast<size_t>(vocab_size) * sizeof(float);
  float* host = context->logits.of<float>(static_cast<int64_t>(rows.size()) * vocab_size);
  float* to = host;
  for (const size_t row : rows) {
    CUDA_CHECK(cudaMemcpyAsync(to, logits.as<float>() + static_cast<int64_t>(row) * vocab_size,
                               row_size, cudaMemcpyDeviceToHost, context->stream));
    to += vocab_size;
  }
  return host;
}

}  // namespace

void sample(const SampleParams& params, Context* context) {
  CHECK(!context->recording);
  CHECK_EQ(params.rows.size(), params.tokens.size());
  const auto num_rows = static_cast<int64_t>(params.rows.size());
  CHECK_GE(params.logits.dim(0), num_rows);
  if (num_rows == 0) return;
  std::vector<size_t> drawn;
  std::vector<SampleRow> drawn_rows;
  for (size_t i = 0; i < params.rows.size(); ++i) {
    if (is_greedy(params.rows[i])) continue;
    drawn.push_back(i);
    drawn_rows.push_back(params.rows[i]);
  }
  int32_t* greedy = context->tokens.of<int32_t>(num_rows);
  if (drawn.size() < params.rows.size()) {
    argmax_rows(params.logits.as<float>(), num_rows, params.logits.dim(1), greedy, context->stream);
  }
  float* host = drawn.empty() ? nullptr : copy_rows(params.logits, drawn, context);
  CUDA_CHECK(cudaStreamSynchronize(context->stream));
  for (size_t i = 0; i < params.rows.size(); ++i) {
    if (is_greedy(params.rows[i])) params.tokens[i] = greedy[i];
  }
  if (drawn.empty()) return;
  std::vector<int32_t> tokens(drawn.size());
  const Shape shape{static_cast<int64_t>(drawn.size()), params.logits.dim(1)};
  host::sample({.logits = TensorView(host, shape), .rows = drawn_rows, .tokens = tokens},
               &context->threads);
  for (size_t i = 0; i < drawn.size(); ++i) params.tokens[drawn[i]] = tokens[i];
}

void log_probs(const LogProbParams& params, Context* context) {
  CHECK(!context->recording);
  const auto num_rows = static_cast<int64_t>(params.targets.size());
  CHECK_GE(params.logits.dim(0), num_rows);
  if (num_rows == 0) return;
  std::vector<size_t> rows(params.targets.size());
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = i;
  float* host = copy_rows(params.logits, rows, context);
  CUDA_CHECK(cudaStreamSynchronize(context->stream));
  host::log_probs({.logits = TensorView(host, {num_rows, params.logits.dim(1)}),
                   .targets = params.targets,
                   .log_probs = params.log_probs},
                  &context->threads);
}

}  // namespace lserve::cuda
