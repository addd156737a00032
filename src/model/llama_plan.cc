// What Llama does before the first operation of a step: plans of all layers, brought into the
// backend's memory.
#include <utility>

#include "base/hash.h"
#include "model/llama.h"
#include "model/rope_table.h"

namespace lserve {

namespace {

constexpr StepLists::Region page_id_region(HeadClass c) {
  return c == HeadClass::kRetrieval ? StepLists::Region::kRetrievalPageIds
                                    : StepLists::Region::kStreamingPageIds;
}

}  // namespace

Status Llama::place_pattern() {
  std::vector<int32_t> heads;
  for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
    for (const HeadClass c : {HeadClass::kRetrieval, HeadClass::kStreaming}) {
      const std::span<const int32_t> of_class = pattern_.heads(layer, c);
      heads.insert(heads.end(), of_class.begin(), of_class.end());
    }
  }
  const std::span<const std::byte> bytes = std::as_bytes(std::span(heads));
  ASSIGN_OR_RETURN(pattern_lists_, backend_.allocate(bytes.size()));
  backend_.upload(pattern_lists_.data(), bytes.data(), bytes.size());
  const auto* next = pattern_lists_.as<int32_t>();
  for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
    for (const HeadClass c : {HeadClass::kRetrieval, HeadClass::kStreaming}) {
      const size_t count = pattern_.heads(layer, c).size();
      layer_lists_[static_cast<size_t>(layer)].kv_heads[index_of(c)] = {next, count};
      next += count;
    }
  }
  return {};
}

void Llama::plan(const Step& step, AttentionCounts* counts) {
  rows_ = step.prefill.sequences.empty() ? RowCount::kFew : RowCount::kMany;
  lists_.clear();
  gather_.clear();
  place_shared(step);
  for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
    place_prefill(step, layer, counts);
    place_decode(step, layer, counts);
  }
  place_gather(step);
}

void Llama::place_shared(const Step& step) {
  using Region = StepLists::Region;
  const int64_t n = step.num_tokens();
  shared_.token_ids = lists_.add(Region::kLists, std::span(std::as_const(step.token_ids))).device;
  const auto angles =
      lists_.reserve<float>(Region::kLists, static_cast<size_t>(n * config_.head_dim));
  fill_cos_sin(rope_frequencies_, config_.rope.attention_factor, step.positions, angles.host);
  shared_.cos_sin = TensorView(angles.device.data(), {n, 2, config_.head_dim / 2});
  for (const HeadClass c : {HeadClass::kRetrieval, HeadClass::kStreaming}) {
    const size_t i = index_of(c);
    shared_.slots[i] = lists_.add(Region::kLists, std::span(std::as_const(step.slots[i]))).device;
    const auto place = [&](const BatchView& batch) {
      return lists_.add(page_id_region(c), std::span(std::as_const(batch.page_ids[i]))).device;
    };
    shared_.prefill_pages[i] = place(step.prefill);
    shared_.decode_pages[i] = place(step.decode);
  }
  shared_.spans = lists_.whole<PageSpan>(Region::kSpans);
}

void Llama::place_prefill(const Step& step, int64_t layer, AttentionCounts* counts) {
  LayerLists& lists = layer_lists_[static_cast<size_t>(layer)];
  lists.prefill_work = {};
  if (step.prefill.sequences.empty()) return;
  plan_prefill(step.prefill, pattern_, layer, attention_, &prefill_plan_);
  counts->prefill_read += prefill_plan_.blocks_read;
  counts->prefill_held += prefill_plan_.blocks_held;
  using Region = StepLists::Region;
  lists.prefill_work =
      lists_.add(Region::kLists, std::span(std::as_const(prefill_plan_.work))).device;
  lists.ranges = lists_.add(Region::kLists, std::span(std::as_const(prefill_plan_.ranges))).device;
}

void Llama::place_decode(const Step& step, int64_t layer, AttentionCounts* counts) {
  LayerLists& lists = layer_lists_[static_cast<size_t>(layer)];
  lists.decode_work = {};
  if (step.decode.sequences.empty()) return;
  DecodePlan& plan = decode_plan_;
  const auto group = static_cast<int32_t>(config_.gqa_group_size());
  plan_decode(step.decode, pattern_, layer, attention_, group, &plan);
  counts->decode_read += plan.pages_read;
  counts->decode_held += plan.pages_held;
  counts->refreshes += static_cast<int64_t>(plan.score.size());
  // The spans of all layers lie in one list.
  const auto spans =
      lists_.add(StepLists::Region::kSpans, std::span(std::as_const(plan.spans))).device;
  const auto first = static_cast<int32_t>(spans.data() - shared_.spans.data());
  for (DecodeWork& work : plan.work) work.first_span += first;
  select_gather_.clear();
  for (GatherSpansWork& work : plan.gather) {
    work.first_span += first;
    // Both lists go through the selections in the same order.
    const size_t next = select_gather_.size();
    const bool is_new = next < plan.select_rows.size() && plan.select_rows[next] == work.row;
    (is_new ? select_gather_ : gather_).push_back(work);
  }
  CHECK_EQ(select_gather_.size(), plan.select_rows.size());
  plan.pad_lists(num_selections(step, layer));
  select_gather_.resize(plan.score.size());
  const auto place = [&](const auto& list) {
    return lists_.add(StepLists::Region::kLists, std::span(list)).device;
  };
  lists.decode_work = place(std::as_const(plan.work));
  lists.score = place(std::as_const(plan.score));
  lists.select_num_pages = place(std::as_const(plan.select_num_pages));
  lists.select_rows = place(std::as_const(plan.select_rows));
  lists.select_gather = place(std::as_const(select_gather_));
  lists.bounds = plan.bounds();
}

// Selections of earlier steps are known before the first layer: one launch serves all layers. Their
// list is padded as those of a layer are.
void Llama::place_gather(const Step& step) {
  if (!gather_.empty()) {
    size_t most = 0;
    for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
      most += num_selections(step, layer);
    }
    gather_.resize(most);
  }
  shared_.gather = lists_.add(StepLists::Region::kLists, std::span(std::as_const(gather_))).device;
}

size_t Llama::num_selections(const Step& step, int64_t layer) const {
  const auto group = static_cast<int32_t>(config_.gqa_group_size());
  return step.decode.sequences.size() * pattern_.heads(layer, HeadClass::kRetrieval).size() *
         static_cast<size_t>(attention_.lists_per_kv_head(group));
}

uint64_t Llama::graph_key(int64_t num_tokens) const {
  const int64_t of_step[] = {num_tokens, static_cast<int64_t>(shared_.gather.size())};
  uint64_t key = hash64(std::as_bytes(std::span(of_step)), 0);
  for (const LayerLists& lists : layer_lists_) {
    const int64_t sizes[] = {static_cast<int64_t>(lists.decode_work.size()),
                             static_cast<int64_t>(lists.score.size()), lists.bounds.max_spans,
                             lists.bounds.max_q_heads, lists.bounds.max_num_pages};
    key = hash64(std::as_bytes(std::span(sizes)), key);
  }
  return key;
}

}  // namespace lserve
