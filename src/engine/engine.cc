#include "engine/engine.h"

#include <algorithm>
#include <utility>

#include "base/checked_math.h"
#include "base/strings.h"

namespace lserve {

Result<std::unique_ptr<Engine>> Engine::load(EnginePlan plan, std::unique_ptr<Backend> backend,
                                             const LoadProgress& progress) {
  std::unique_ptr<Engine> engine(new Engine(std::move(plan), std::move(backend)));
  const EnginePlan& p = engine->plan_;
  Backend& b = *engine->backend_;
  ASSIGN_OR_RETURN(engine->cache_, KvCache::create(p.memory.kv, b));
  ASSIGN_OR_RETURN(Workspace workspace, Workspace::create(p.inputs.config, p.memory.workspace, b));
  ASSIGN_OR_RETURN(ModelWeights weights, load_weights(*p.checkpoint, b, progress));
  if (p.adapter != nullptr) {
    RETURN_IF_ERROR(load_adapter(*p.adapter, p.lora_scale, b, &weights));
  }
  ASSIGN_OR_RETURN(StepLists lists, StepLists::create(p.memory.step, b));
  ASSIGN_OR_RETURN(engine->model_,
                   Llama::create(p.inputs.config, std::move(weights), std::move(workspace),
                                 std::move(lists), p.inputs.attention, p.inputs.pattern, b));
  const int64_t max_pages = ceil_div(engine->context(), int64_t{kPageSize});
  engine->step_.reserve(engine->chunk(), max_pages);
  engine->model_->reserve_decode(max_pages);
  return engine;
}

Sequence Engine::new_sequence() {
  const int32_t lists =
      model_->attention().lists_per_kv_head(static_cast<int32_t>(config().gqa_group_size()));
  Sequence sequence{SequencePages(*cache_), PageSelection(model_->pattern(), 0, lists), {}};
  sequence.pages.reserve(context());
  sequence.tokens.reserve(static_cast<size_t>(context()));
  return sequence;
}

Status Engine::begin_step(Sequence& sequence, std::span<const int32_t> tokens) {
  const int64_t begin = sequence.kv_len();
  const auto count = static_cast<int64_t>(tokens.size());
  if (begin + count > context()) {
    return memory_error(cat("the context of ", with_separators(context()), " tokens is full"));
  }
  RETURN_IF_ERROR(sequence.pages.extend(count));
  step_.clear();
  step_.token_ids.assign(tokens.begin(), tokens.end());
  for (int64_t i = 0; i < count; ++i) {
    step_.positions.push_back(static_cast<int32_t>(begin + i));
  }
  for (const HeadClass c : {HeadClass::kRetrieval, HeadClass::kStreaming}) {
    if (!cache_->config().has_heads(c)) continue;
    auto& slots = step_.slots[index_of(c)];
    slots.resize(tokens.size());
    sequence.pages.fill_slots(c, begin, slots);
  }
  return {};
}

void Engine::run_step(Sequence& sequence, std::span<const int32_t> tokens) {
  counts_ += model_->forward(step_, *cache_);
  sequence.tokens.insert(sequence.tokens.end(), tokens.begin(), tokens.end());
  sequence.pages.drop_outside_window(model_->attention().sink_tokens, plan_.inputs.kept_window());
}

Status Engine::prefill(Sequence& sequence, std::span<const int32_t> tokens) {
  CHECK(!tokens.empty());
  CHECK_LE(static_cast<int64_t>(tokens.size()), chunk());
  RETURN_IF_ERROR(begin_step(sequence, tokens));
  step_.prefill.add(sequence.pages, static_cast<int32_t>(tokens.size()), nullptr);
  // A selection made before a prefill (an earlier turn of a chat) knows nothing of the new pages.
  sequence.selection.clear();
  run_step(sequence, tokens);
  return {};
}

Status Engine::prefill_chunks(Sequence& sequence, std::span<const int32_t> tokens,
                              AfterChunk after_chunk) {
  const auto total = static_cast<int64_t>(tokens.size());
  for (int64_t first = 0; first < total; first += chunk()) {
    const int64_t count = std::min(chunk(), total - first);
    RETURN_IF_ERROR(
        prefill(sequence, tokens.subspan(static_cast<size_t>(first), static_cast<size_t>(count))));
    RETURN_IF_ERROR(after_chunk(first, count));
  }
  return {};
}

Result<int32_t> Engine::draw(const SamplingParams& sampling, int64_t position) {
  const SampleRow row{sampling, position};
  int32_t token = 0;
  backend_->sample({.logits = model_->logits(last_step_tokens() - 1, 1, RowCount::kFew),
                    .rows = {&row, 1},
                    .tokens = {&token, 1}});
  backend_->synchronize();
  if (token == kNonFinite) {
    return runtime_error(cat("the logits at position ", position,
                             " are not finite: the weights are damaged, or the KV format is too "
                             "narrow for this model"));
  }
  return token;
}

Status Engine::decode(Sequence& sequence, int32_t token) {
  const std::span<const int32_t> tokens(&token, 1);
  RETURN_IF_ERROR(begin_step(sequence, tokens));
  step_.decode.add(sequence.pages, 1, &sequence.selection);
  run_step(sequence, tokens);
  return {};
}

}  // namespace lserve
