// Engine: a loaded model with its cache, and the steps it can take. START HERE for engine/.
//
// A step is a chunk of one prompt, or a token of each of several sequences; the scheduler of many
// comes with the server. Not thread-safe.
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

  // `place`: which of the num_sequences (EngineConfig) it is; another that lives has another.
  Sequence new_sequence(int64_t place = 0);

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
  // The same for several sequences in one step, which changes the result of none: row i of the step
  // is sequences[i]. REQUIRES: one token each, as many as the engine has places.
  Status decode(std::span<Sequence* const> sequences, std::span<const int32_t> tokens);
  // Gives the sequence `count` tokens with random keys and values, as if it had read them.
  Status fill(Sequence& sequence, int64_t count, uint64_t seed);
  // Logits of rows of the last step: [count, vocab_size]. REQUIRES: count <= max_logit_rows().
  TensorView logits(int64_t first, int64_t count) {
    return model_->logits(first, count, RowCount::kMany);
  }
  // Draws the token that follows the last row. kRuntime: the logits are not finite.
  Result<int32_t> draw(const SamplingParams& sampling, int64_t position);
  // After a decode step of several sequences, the token after each: tokens[i] for row i.
  Status draw(std::span<const SampleRow> rows, std::span<int32_t> tokens);
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
  Status sample(const TensorView& logits, std::span<const SampleRow> rows,
                std::span<int32_t> tokens);
  // kMemory: the sequence has no room for `count` tokens more.
  Status check_room(const Sequence& sequence, int64_t count) const;
  // Gives the tokens slots and adds what both phases share to step_.
  Status add_to_step(Sequence& sequence, std::span<const int32_t> tokens);
  // The sequence has taken its step.
  void end_step(Sequence& sequence, std::span<const int32_t> tokens);

  EnginePlan plan_;
  std::unique_ptr<Backend> backend_;  // outlives everything below
  std::unique_ptr<KvCache> cache_;
  std::unique_ptr<Llama> model_;
  Step step_;
  AttentionCounts counts_;
};

}  // namespace lserve
