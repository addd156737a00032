// What Llama does before the first operation of a step: plans of all layers, brought into the
// backend's memory.
#include <algorithm>
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
  const bool decodes = step.prefill.sequences.empty();
  rows_ = decodes ? RowCount::kFew : RowCount::kMany;
  repeats_ = decodes && backend_.has_graphs();
  if (repeats_) {
    const int64_t rows = decode_bucket(step.num_tokens(), lists_.limits().num_sequences);
    shape_ = decode_shape(step.decode, attention_, config_.num_layers, rows);
  }
  lists_.clear();
  gather_.clear();
  place_shared(step, repeats_ ? shape_.num_rows : step.num_tokens());
  for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
    place_prefill(step, layer, counts);
    place_decode(step, layer, counts);
  }
  place_gather();
}

template <typename T>
std::span<const T> Llama::place_rows(const std::vector<T>& of_tokens, int64_t num_rows, T padding) {
  if (of_tokens.empty()) return {};  // slots of a pool that has no heads
  const auto room = lists_.reserve<T>(StepLists::Region::kLists, static_cast<size_t>(num_rows));
  std::fill(std::copy(of_tokens.begin(), of_tokens.end(), room.host.begin()), room.host.end(),
            padding);
  return room.device;
}

void Llama::place_shared(const Step& step, int64_t num_rows) {
  shared_.token_ids = place_rows(step.token_ids, num_rows, int32_t{0});
  const auto angles = lists_.reserve<float>(StepLists::Region::kLists,
                                            static_cast<size_t>(num_rows * config_.head_dim));
  fill_cos_sin(rope_frequencies_, config_.rope.attention_factor, step.positions, angles.host);
  const auto of_tokens = static_cast<size_t>(step.num_tokens() * config_.head_dim);
  std::fill(angles.host.begin() + static_cast<std::ptrdiff_t>(of_tokens), angles.host.end(), 0.0F);
  shared_.cos_sin = TensorView(angles.device.data(), {num_rows, 2, config_.head_dim / 2});
  for (const HeadClass c : {HeadClass::kRetrieval, HeadClass::kStreaming}) {
    const size_t i = index_of(c);
    shared_.slots[i] = place_rows(step.slots[i], num_rows, kNoSlot);
    const auto place = [&](const BatchView& batch) {
      return lists_.add(page_id_region(c), std::span(std::as_const(batch.page_ids[i]))).device;
    };
    shared_.prefill_pages[i] = place(step.prefill);
    const std::span<const int32_t> decode_pages = place(step.decode);
    // To the end of the region: what a step repeats must not depend on how many there are.
    const std::span<const int32_t> all = lists_.whole<int32_t>(page_id_region(c));
    shared_.decode_pages[i] = all.subspan(static_cast<size_t>(decode_pages.data() - all.data()));
  }
  shared_.spans = lists_.whole<PageSpan>(StepLists::Region::kSpans);
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
  lists.bounds = plan.bounds();
  if (repeats_) {
    const bool selects = shape_.selects && (!shape_.together || !plan.score.empty());
    const size_t selections = selects ? most_selections(layer) : 0;
    plan.pad(most_work(layer), selections);
    select_gather_.resize(selections);
    lists.bounds.max_num_pages = selections > 0 ? DecodePlan::bound_of(shape_.max_num_pages) : 0;
  }
  const auto place = [&](const auto& list) {
    return lists_.add(StepLists::Region::kLists, std::span(list)).device;
  };
  lists.decode_work = place(std::as_const(plan.work));
  lists.score = place(std::as_const(plan.score));
  lists.select_num_pages = place(std::as_const(plan.select_num_pages));
  lists.select_rows = place(std::as_const(plan.select_rows));
  lists.select_gather = place(std::as_const(select_gather_));
}

// Selections of earlier steps are known before the first layer: one launch serves all layers.
void Llama::place_gather() {
  if (repeats_ && shape_.selects && attention_.reuse_interval > 1) {
    size_t most = 0;
    for (int64_t layer = 0; layer < config_.num_layers; ++layer) most += most_selections(layer);
    CHECK_LE(gather_.size(), most);
    gather_.resize(most);
  }
  shared_.gather = lists_.add(StepLists::Region::kLists, std::span(std::as_const(gather_))).device;
}

size_t Llama::most_selections(int64_t layer) const {
  const auto group = static_cast<int32_t>(config_.gqa_group_size());
  return static_cast<size_t>(shape_.num_rows * attention_.lists_per_kv_head(group)) *
         pattern_.heads(layer, HeadClass::kRetrieval).size();
}

size_t Llama::most_work(int64_t layer) const {
  const auto rows = static_cast<size_t>(shape_.num_rows);
  if (!shape_.selects) return rows * static_cast<size_t>(config_.num_kv_heads);
  return most_selections(layer) + rows * pattern_.heads(layer, HeadClass::kStreaming).size();
}

uint64_t Llama::graph_key() const {
  const int64_t of_step[] = {shape_.num_rows, static_cast<int64_t>(shared_.gather.size())};
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
