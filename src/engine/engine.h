// Engine: a loaded model with its cache, and the steps it can take. START HERE for engine/.
//
// One sequence at a time for now; the scheduler of many comes with the server. Not thread-safe.
#pragma once

#include <memory>
#include <span>

#include "base/status.h"
#include "base/thread_pool.h"
#include "engine/engine_plan.h"
#include "engine/sequence.h"
#include "model/llama.h"

namespace lserve {

class Engine {
 public:
  // Loads the weights and allocates cache and workspace as planned. kModel, kMemory.
  static Result<std::unique_ptr<Engine>> load(EnginePlan plan, std::unique_ptr<Backend> backend,
                                              const LoadProgress& progress);

  Sequence new_sequence();

  // Runs the next prompt tokens of the sequence through the model. kMemory: the context is full,
  // and nothing has changed. REQUIRES: 1 <= tokens.size() <= chunk().
  Status prefill(Sequence& sequence, std::span<const int32_t> tokens);
  // The same for any number of tokens, chunk by chunk. After each, `after_chunk(first, count)`
  // (rows of the last step are tokens first .. first + count - 1 of `tokens`) may end it by an
  // error.
  using AfterChunk = FunctionRef<Status(int64_t first, int64_t count)>;
  Status prefill_chunks(Sequence& sequence, std::span<const int32_t> tokens,
                        AfterChunk after_chunk);
  // Runs one generated token through the model, by the decode path. Once a sequence has taken a
  // first step, decode() and draw() allocate nothing (tests/allocations).
  Status decode(Sequence& sequence, int32_t token);
  // Logits of rows of the last step: [count, vocab_size]. REQUIRES: count <= max_logit_rows().
  TensorView logits(int64_t first, int64_t count) {
    return model_->logits(first, count, RowCount::kMany);
  }
  // Draws the token that follows the last row. kRuntime: the logits are not finite.
  Result<int32_t> draw(const SamplingParams& sampling, int64_t position);
  int64_t last_step_tokens() const { return step_.num_tokens(); }

  Backend& backend() { return *backend_; }
  const EnginePlan& plan() const { return plan_; }
  const ModelConfig& config() const { return model_->config(); }
  const ModelWeights& weights() const { return model_->weights(); }
  int64_t context() const { return plan_.memory.context; }
  int64_t chunk() const { return plan_.inputs.chunk; }
  int64_t max_logit_rows() const { return model_->limits().max_logit_rows; }
  KvCache& cache() { return *cache_; }
  // Since load() or the last reset.
  const AttentionCounts& counts() const { return counts_; }
  void reset_counts() { counts_ = {}; }

 private:
  Engine(EnginePlan plan, std::unique_ptr<Backend> backend)
      : plan_(std::move(plan)), backend_(std::move(backend)) {}
  // Gives the tokens slots and fills step_ with what both phases share.
  Status begin_step(Sequence& sequence, std::span<const int32_t> tokens);
  void run_step(Sequence& sequence, std::span<const int32_t> tokens);

  EnginePlan plan_;
  std::unique_ptr<Backend> backend_;  // outlives everything below
  std::unique_ptr<KvCache> cache_;
  std::unique_ptr<Llama> model_;
  Step step_;
  AttentionCounts counts_;
};

}  // namespace lserve
