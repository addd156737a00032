#include "engine/engine.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/checked_math.h"
#include "base/strings.h"
#include "quant/random_values.h"

namespace lserve {

Result<std::unique_ptr<Engine>> Engine::load(EnginePlan plan, std::unique_ptr<Backend> backend,
                                             const LoadProgress& progress) {
  std::unique_ptr<Engine> engine(new Engine(std::move(plan), std::move(backend)));
  const EnginePlan& p = engine->plan_;
  Backend& b = *engine->backend_;
  ASSIGN_OR_RETURN(engine->cache_, KvCache::create(p.memory.kv, b));
  ASSIGN_OR_RETURN(Workspace workspace, Workspace::create(p.inputs.config, p.memory.workspace, b));
  ASSIGN_OR_RETURN(ModelWeights weights, load_weights(*p.checkpoint, p.weights, b, progress));
  if (p.adapter != nullptr) {
    RETURN_IF_ERROR(load_adapter(*p.adapter, p.lora_scale, b, &weights));
  }
  ASSIGN_OR_RETURN(StepLists lists, StepLists::create(p.memory.step, b));
  ASSIGN_OR_RETURN(engine->model_,
                   Llama::create(p.inputs.config, std::move(weights), std::move(workspace),
                                 std::move(lists), p.inputs.attention, p.inputs.pattern, b));
  const int64_t max_pages = ceil_div(engine->context(), int64_t{kPageSize});
  engine->step_.reserve(engine->chunk(), p.inputs.num_sequences, max_pages);
  engine->model_->reserve_decode(p.inputs.num_sequences, max_pages);
  RETURN_IF_ERROR(b.reserve(p.memory.scratch));
  return engine;
}

Sequence Engine::new_sequence(int64_t place) {
  CHECK(place >= 0 && place < plan_.inputs.num_sequences);
  const int32_t lists =
      model_->attention().lists_per_kv_head(static_cast<int32_t>(config().gqa_group_size()));
  const int64_t first_row = place * PageSelection::num_rows(model_->pattern(), lists);
  Sequence sequence{SequencePages(*cache_),
                    PageSelection(model_->pattern(), static_cast<int32_t>(first_row), lists),
                    {}};
  sequence.pages.reserve(context());
  sequence.tokens.reserve(static_cast<size_t>(context()));
  return sequence;
}

Status Engine::check_room(const Sequence& sequence, int64_t count) const {
  if (sequence.kv_len() + count <= context()) return {};
  return memory_error(cat("the context of ", with_separators(context()), " tokens is full"));
}

Status Engine::add_to_step(Sequence& sequence, std::span<const int32_t> tokens) {
  const int64_t begin = sequence.kv_len();
  const auto count = static_cast<int64_t>(tokens.size());
  RETURN_IF_ERROR(check_room(sequence, count));
  RETURN_IF_ERROR(sequence.pages.extend(count));
  step_.token_ids.insert(step_.token_ids.end(), tokens.begin(), tokens.end());
  for (int64_t i = 0; i < count; ++i) {
    step_.positions.push_back(static_cast<int32_t>(begin + i));
  }
  for (const HeadClass c : {HeadClass::kRetrieval, HeadClass::kStreaming}) {
    if (!cache_->config().has_heads(c)) continue;
    auto& slots = step_.slots[index_of(c)];
    slots.resize(slots.size() + tokens.size());
    sequence.pages.fill_slots(c, begin, std::span(slots).last(tokens.size()));
  }
  return {};
}

void Engine::end_step(Sequence& sequence, std::span<const int32_t> tokens) {
  sequence.tokens.insert(sequence.tokens.end(), tokens.begin(), tokens.end());
  sequence.pages.drop_outside_window(model_->attention().sink_tokens, plan_.inputs.kept_window());
}

Status Engine::prefill(Sequence& sequence, std::span<const int32_t> tokens) {
  CHECK(!tokens.empty());
  CHECK_LE(static_cast<int64_t>(tokens.size()), chunk());
  step_.clear();
  RETURN_IF_ERROR(add_to_step(sequence, tokens));
  step_.prefill.add(sequence.pages, static_cast<int32_t>(tokens.size()), nullptr);
  // A selection made before a prefill (an earlier turn of a chat) knows nothing of the new pages.
  sequence.selection.clear();
  counts_ += model_->forward(step_, *cache_);
  end_step(sequence, tokens);
  return {};
}

Status Engine::fill(Sequence& sequence, int64_t count, uint64_t seed) {
  RETURN_IF_ERROR(check_room(sequence, count));
  const int64_t width = config().num_kv_heads * config().head_dim;
  std::vector<float> values(static_cast<size_t>(3 * chunk() * width));
  const float kUnitVariance = std::sqrt(3.0F);
  for (size_t i = 0; i < values.size(); ++i) values[i] = random_value(seed, i, kUnitVariance);
  const std::vector<int32_t> tokens(static_cast<size_t>(chunk()), 0);
  for (int64_t done = 0; done < count; done += chunk()) {
    const auto part = std::span(tokens).first(static_cast<size_t>(std::min(chunk(), count - done)));
    step_.clear();
    RETURN_IF_ERROR(add_to_step(sequence, part));
    model_->fill(step_, *cache_, values);
    end_step(sequence, part);
  }
  sequence.selection.clear();
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
  const TensorView logits = model_->logits(last_step_tokens() - 1, 1, RowCount::kFew);
  RETURN_IF_ERROR(sample(logits, {&row, 1}, {&token, 1}));
  return token;
}

Status Engine::draw(std::span<const SampleRow> rows, std::span<int32_t> tokens) {
  CHECK_EQ(static_cast<int64_t>(rows.size()), last_step_tokens());
  return sample(model_->logits(0, last_step_tokens(), RowCount::kFew), rows, tokens);
}

Status Engine::sample(const TensorView& logits, std::span<const SampleRow> rows,
                      std::span<int32_t> tokens) {
  backend_->sample({.logits = logits, .rows = rows, .tokens = tokens});
  backend_->synchronize();
  for (size_t i = 0; i < rows.size(); ++i) {
    if (tokens[i] != kNonFinite) continue;
    return runtime_error(cat("the logits at position ", rows[i].position,
                             " are not finite: the weights are damaged, or the KV format is too "
                             "narrow for this model"));
  }
  return {};
}

Status Engine::decode(Sequence& sequence, int32_t token) {
  Sequence* const one = &sequence;
  return decode(std::span(&one, 1), std::span(&token, 1));
}

Status Engine::decode(std::span<Sequence* const> sequences, std::span<const int32_t> tokens) {
  CHECK(!sequences.empty());
  CHECK_EQ(sequences.size(), tokens.size());
  CHECK_LE(static_cast<int64_t>(sequences.size()), plan_.inputs.num_sequences);
  for (const Sequence* sequence : sequences) RETURN_IF_ERROR(check_room(*sequence, 1));
  step_.clear();
  for (size_t i = 0; i < sequences.size(); ++i) {
    RETURN_IF_ERROR(add_to_step(*sequences[i], tokens.subspan(i, 1)));
    step_.decode.add(sequences[i]->pages, 1, &sequences[i]->selection);
  }
  counts_ += model_->forward(step_, *cache_);
  for (size_t i = 0; i < sequences.size(); ++i) end_step(*sequences[i], tokens.subspan(i, 1));
  return {};
}

}  // namespace lserve
