// The activations of one step: allocated once, for the largest step there will be.
#pragma once

#include <cstdint>

#include "base/status.h"
#include "checkpoint/model_config.h"
#include "kernels/backend.h"

namespace lserve {

struct WorkspaceLimits {
  int64_t max_tokens = 0;          // of a step, over all its sequences
  int64_t max_logit_rows = 0;      // of one call of Llama::logits
  int64_t max_pages = 0;           // of a sequence: columns of the score table
  int64_t max_score_rows = 0;      // lists that a layer selects in a step; 0: no selection
  int64_t num_selection_rows = 0;  // lists of all sequences and layers: rows of the selection table
  int64_t budget_pages = 0;        // its columns
  int64_t low_rank_columns = 0;    // widest_low_rank() of the adapter; 0: none
};

// Every tensor has `max` rows; first_rows() gives the part a step uses.
struct Workspace {
  static Result<Workspace> create(const ModelConfig& config, const WorkspaceLimits& limits,
                                  Backend& backend);
  static int64_t planned_bytes(const ModelConfig& config, const WorkspaceLimits& limits);

  WorkspaceLimits limits;
  Buffer memory;
  TensorView hidden;     // [max_tokens, hidden]  f32: the residual stream
  TensorView normed;     // [max_tokens, hidden]
  TensorView q;          // [max_tokens, num_q_heads * head_dim]
  TensorView k, v;       // [max_tokens, num_kv_heads * head_dim]
  TensorView attention;  // [max_tokens, num_q_heads * head_dim]
  TensorView gate, up;   // [max_tokens, intermediate]
  TensorView largest;    // [max_tokens, intermediate / kLargestColumns]
  TensorView low_rank;   // [max_tokens, low_rank_columns]
  TensorView logits;     // [max_logit_rows, vocab_size]
  TensorView scores;     // [max_score_rows, max_pages]
  TensorView selected;   // [num_selection_rows, budget_pages]  i32
};

// The first n rows of a matrix, seen as `shape`. REQUIRES: it fits.
TensorView first_rows(const TensorView& matrix, Shape shape);

}  // namespace lserve
