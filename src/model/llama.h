// The Llama family's forward pass over a paged KV cache. START HERE for model/.
//
// One step: every token of it goes through the layers; keys and values are written to the cache
// before attention reads them back, so chunking, caching and resuming never change a result. The
// attention mode is data: lists of blocks and pages made by attention/. Not thread-safe.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "attention/attention_config.h"
#include "attention/decode_plan.h"
#include "attention/decode_shape.h"
#include "attention/head_pattern.h"
#include "attention/prefill_plan.h"
#include "checkpoint/model_config.h"
#include "kernels/backend.h"
#include "kv_cache/kv_cache.h"
#include "model/step.h"
#include "model/step_lists.h"
#include "model/weights.h"
#include "model/workspace.h"

namespace lserve {

class Llama {
 public:
  // The backend must outlive the model. The pattern's shape is the config's (checked by the
  // caller). kMemory: the backend has no room for the pattern's lists.
  static Result<std::unique_ptr<Llama>> create(ModelConfig config, ModelWeights weights,
                                               Workspace workspace, StepLists lists,
                                               AttentionConfig attention, HeadPattern pattern,
                                               Backend& backend);

  // Runs the step. Its tokens have slots in `cache`. REQUIRES: at most max_tokens of the workspace,
  // and num_sequences of the lists. The hidden states stay in the workspace for logits() until the
  // next call; a decode step is padded where the backend has graphs (attention/decode_shape.h), by
  // rows behind those of the step.
  AttentionCounts forward(const Step& step, KvCache& cache);
  // Logits of `count` rows of the last step from `first` on: [count, vocab_size], f32, valid until
  // the next call. kFew: to draw from, the same bits after a prompt as after a decode step.
  // REQUIRES: count <= max_logit_rows.
  TensorView logits(int64_t first, int64_t count, RowCount rows);

  // Makes room for decode steps of sequences of `max_pages` pages: they allocate nothing then.
  void reserve_decode(int64_t num_sequences, int64_t max_pages);
  // Writes random keys and values for the step's tokens into all layers, as a step would: a cache
  // to measure with. `values` are at least 3 rows of the KV width a token.
  void fill(const Step& step, KvCache& cache, std::span<const float> values);

  const ModelConfig& config() const { return config_; }
  const AttentionConfig& attention() const { return attention_; }
  const HeadPattern& pattern() const { return pattern_; }
  const WorkspaceLimits& limits() const { return workspace_.limits; }
  const ModelWeights& weights() const { return weights_; }

 private:
  // What the operations of one layer read, in the backend's memory.
  struct LayerLists {
    std::array<std::span<const int32_t>, kNumHeadClasses> kv_heads;  // of the pattern
    std::span<const PrefillWork> prefill_work;
    std::span<const KeyBlockRange> ranges;
    std::span<const DecodeWork> decode_work;
    std::span<const PageScoreWork> score;
    std::span<const int32_t> select_num_pages, select_rows;
    std::span<const GatherSpansWork> select_gather;  // of what is selected in this step
    DecodePlan::Bounds bounds;
  };
  // The same for all layers.
  struct SharedLists {
    std::span<const int32_t> token_ids;
    TensorView cos_sin;  // [num_tokens, 2, head_dim / 2]
    std::array<std::span<const int64_t>, kNumHeadClasses> slots;
    std::array<std::span<const int32_t>, kNumHeadClasses> prefill_pages, decode_pages;
    std::span<const GatherSpansWork> gather;  // of selections that are reused
    std::span<PageSpan> spans;
  };

  Llama(ModelConfig config, ModelWeights weights, Workspace workspace, StepLists lists,
        AttentionConfig attention, HeadPattern pattern, Backend& backend);
  Status place_pattern();

  // Plans the step for every layer and puts its lists into the backend's memory.
  void plan(const Step& step, AttentionCounts* counts);
  // For `num_rows` rows: those of the step, and padding.
  void place_shared(const Step& step, int64_t num_rows);
  template <typename T>
  std::span<const T> place_rows(const std::vector<T>& of_tokens, int64_t num_rows, T padding);
  void place_prefill(const Step& step, int64_t layer, AttentionCounts* counts);
  void place_decode(const Step& step, int64_t layer, AttentionCounts* counts);
  void place_gather();
  // Of a layer, if all rows of the step are sequences, and where any selects all do.
  size_t most_selections(int64_t layer) const;
  size_t most_work(int64_t layer) const;
  // Tells steps with other launches apart. REQUIRES: a step without prefill.
  uint64_t graph_key() const;

  void run_layers(int64_t num_tokens, const KvCache& cache);
  void attend(int64_t num_tokens, int64_t layer, const KvCache& cache);
  // What the new tokens' k and v are written to: the layer's pools that have heads.
  struct KvWrites {
    std::array<WriteKvParams, kNumHeadClasses> pools;
    size_t count = 0;
    std::span<const WriteKvParams> span() const { return std::span(pools).first(count); }
  };
  KvWrites kv_writes(int64_t num_tokens, int64_t layer, std::span<const PagedKvView> pools) const;
  void prefill(int64_t num_tokens, const LayerLists& lists, std::span<const PagedKvView> pools);
  void decode(int64_t num_tokens, const LayerLists& lists, std::span<const PagedKvView> pools);
  void select_pages(int64_t num_tokens, const LayerLists& lists, const PagedKvView& kv);
  void feed_forward(int64_t num_tokens, const LayerWeights& layer);
  // outputs = projections of x, with what an adapter adds.
  void project(const TensorView& x, std::span<const LinearOutput> outputs,
               const TensorView& x_largest = {});
  // The same of normed x.
  NormLinearParams normed(const TensorView& x, const VectorWeight& weight,
                          std::span<const LinearOutput> outputs) const;
  // Of what lies between gate, up and down.
  DType inner_dtype(const LayerWeights& layer) const;
  // The first num_tokens rows of q (or of the attention output), by head.
  TensorView by_head(const TensorView& matrix, int64_t num_tokens, int64_t num_heads) const;

  ModelConfig config_;
  ModelWeights weights_;
  Workspace workspace_;
  AttentionConfig attention_;
  HeadPattern pattern_;
  Backend& backend_;
  std::vector<float> rope_frequencies_;
  Buffer pattern_lists_;  // of the whole pattern, one layer's after the other's
  StepLists lists_;
  SharedLists shared_;
  std::vector<LayerLists> layer_lists_;  // [num_layers]
  // Of the step:
  RowCount rows_ = RowCount::kMany;
  bool repeats_ = false;  // by a graph
  DecodeShape shape_;     // REQUIRES: repeats_
  PrefillPlan prefill_plan_;
  DecodePlan decode_plan_;
  // What decode_plan_ gathers: of one layer's new selections, of all layers' older ones.
  std::vector<GatherSpansWork> select_gather_, gather_;
};

}  // namespace lserve
