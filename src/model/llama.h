// The Llama family's forward pass over a paged KV cache. START HERE for model/.
//
// One step: every token of it goes through the layers; keys and values are written to the cache
// before attention reads them back, so chunking, caching and resuming never change a result. The
// attention mode is data: lists of blocks and pages made by attention/. Not thread-safe.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "attention/attention_config.h"
#include "attention/decode_plan.h"
#include "attention/head_pattern.h"
#include "attention/prefill_plan.h"
#include "checkpoint/model_config.h"
#include "kernels/backend.h"
#include "kv_cache/kv_cache.h"
#include "model/step.h"
#include "model/weights.h"
#include "model/workspace.h"

namespace lserve {

class Llama {
 public:
  // The backend must outlive the model. The pattern's shape is the config's (checked by the
  // caller).
  Llama(ModelConfig config, ModelWeights weights, Workspace workspace, AttentionConfig attention,
        HeadPattern pattern, Backend& backend);

  // Runs the step. Its tokens have slots in `cache`. REQUIRES: at most max_tokens of the workspace.
  // The hidden states stay in the workspace for logits() until the next call.
  AttentionCounts forward(const Step& step, KvCache& cache);
  // Logits of `count` rows of the last step from `first` on: [count, vocab_size], f32, valid until
  // the next call. REQUIRES: count <= max_logit_rows.
  TensorView logits(int64_t first, int64_t count);

  // Makes room for decode steps of a sequence of `max_pages` pages: they allocate nothing then.
  void reserve_decode(int64_t max_pages);

  const ModelConfig& config() const { return config_; }
  const AttentionConfig& attention() const { return attention_; }
  const HeadPattern& pattern() const { return pattern_; }
  const WorkspaceLimits& limits() const { return workspace_.limits; }
  const ModelWeights& weights() const { return weights_; }

 private:
  void attend(const Step& step, int64_t layer, KvCache& cache, AttentionCounts* counts);
  void prefill(const Step& step, int64_t layer, KvCache& cache, AttentionCounts* counts);
  void decode(const Step& step, int64_t layer, KvCache& cache, AttentionCounts* counts);
  void select_pages(const Step& step, const PagedKvView& kv, AttentionCounts* counts);
  void feed_forward(int64_t num_tokens, const LayerWeights& layer);
  // outputs = projections of x, with what an adapter adds.
  void project(const TensorView& x, std::span<const LinearOutput> outputs);
  void norm(const TensorView& x, const VectorWeight& weight, const TensorView& out);
  // The first num_tokens rows of q (or of the attention output), by head.
  TensorView by_head(const TensorView& matrix, int64_t num_tokens, int64_t num_heads) const;

  ModelConfig config_;
  ModelWeights weights_;
  Workspace workspace_;
  AttentionConfig attention_;
  HeadPattern pattern_;
  Backend& backend_;
  std::vector<float> rope_frequencies_;
  PrefillPlan prefill_plan_;
  DecodePlan decode_plan_;
};

}  // namespace lserve
