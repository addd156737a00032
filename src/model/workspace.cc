#include "model/workspace.h"

#include <vector>

#include "base/checked_math.h"

namespace lserve {

namespace {

constexpr int64_t kAlignment = 64;  // bytes: a cache line, an AVX-512 vector

struct Part {
  TensorView Workspace::*view;
  int64_t rows;
  int64_t columns;
};

std::vector<Part> float_parts(const ModelConfig& config, const WorkspaceLimits& limits) {
  const int64_t n = limits.max_tokens;
  const int64_t q_width = config.num_q_heads * config.head_dim;
  const int64_t kv_width = config.num_kv_heads * config.head_dim;
  return {{&Workspace::hidden, n, config.hidden_size},
          {&Workspace::normed, n, config.hidden_size},
          {&Workspace::q, n, q_width},
          {&Workspace::k, n, kv_width},
          {&Workspace::v, n, kv_width},
          {&Workspace::attention, n, q_width},
          {&Workspace::gate, n, config.intermediate_size},
          {&Workspace::up, n, config.intermediate_size},
          {&Workspace::largest, n, ceil_div(config.intermediate_size, kLargestColumns)},
          {&Workspace::low_rank, n, limits.low_rank_columns},
          {&Workspace::logits, limits.max_logit_rows, config.vocab_size},
          {&Workspace::scores, limits.max_score_rows, limits.max_pages}};
}

int64_t aligned_bytes(int64_t elements) { return round_up(elements * 4, kAlignment); }

}  // namespace

int64_t Workspace::planned_bytes(const ModelConfig& config, const WorkspaceLimits& limits) {
  int64_t total = aligned_bytes(limits.num_selection_rows * limits.budget_pages);
  for (const Part& part : float_parts(config, limits)) {
    total += aligned_bytes(part.rows * part.columns);
  }
  return total;
}

Result<Workspace> Workspace::create(const ModelConfig& config, const WorkspaceLimits& limits,
                                    Backend& backend) {
  Workspace workspace;
  workspace.limits = limits;
  ASSIGN_OR_RETURN(workspace.memory,
                   backend.allocate(static_cast<size_t>(planned_bytes(config, limits))));
  auto* next = workspace.memory.as<std::byte>();
  for (const Part& part : float_parts(config, limits)) {
    workspace.*part.view = TensorView(reinterpret_cast<float*>(next), {part.rows, part.columns});
    next += aligned_bytes(part.rows * part.columns);
  }
  workspace.selected = TensorView(reinterpret_cast<int32_t*>(next),
                                  {limits.num_selection_rows, limits.budget_pages});
  return workspace;
}

TensorView first_rows(const TensorView& matrix, Shape shape) {
  CHECK_LE(shape.num_elements(), matrix.shape.num_elements());
  TensorView view = matrix;
  view.shape = shape;
  return view;
}

}  // namespace lserve
