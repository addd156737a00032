#include "model/llama.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "model/rope_table.h"

namespace lserve {

Llama::Llama(ModelConfig config, ModelWeights weights, Workspace workspace,
             AttentionConfig attention, HeadPattern pattern, Backend& backend)
    : config_(std::move(config)),
      weights_(std::move(weights)),
      workspace_(std::move(workspace)),
      attention_(attention),
      pattern_(std::move(pattern)),
      backend_(backend),
      rope_frequencies_(rope_frequencies(config_.rope, config_.head_dim)) {
  CHECK_EQ(pattern_.num_layers(), config_.num_layers);
  CHECK_EQ(pattern_.num_kv_heads(), config_.num_kv_heads);
}

void Llama::reserve_decode(int64_t max_pages) {
  const int64_t budget = has_page_selection(attention_.mode) ? attention_.budget_pages() : 0;
  lserve::reserve_decode(config_.num_q_heads, max_pages, std::min(budget, max_pages),
                         &decode_plan_);
  backend_.reserve({config_.num_q_heads, max_pages + 1, config_.head_dim});
}

AttentionCounts Llama::forward(const Step& step, KvCache& cache) {
  const int64_t n = step.num_tokens();
  CHECK_LE(n, workspace_.limits.max_tokens);
  fill_cos_sin(rope_frequencies_, config_.rope.attention_factor, step.positions,
               {workspace_.cos_sin.as<float>(), static_cast<size_t>(n * config_.head_dim)});
  const TensorView hidden = first_rows(workspace_.hidden, {n, config_.hidden_size});
  const TensorView normed = first_rows(workspace_.normed, {n, config_.hidden_size});
  backend_.embed({&weights_.embedding, step.token_ids, hidden});

  AttentionCounts counts;
  for (int64_t i = 0; i < config_.num_layers; ++i) {
    const LayerWeights& layer = weights_.layers[static_cast<size_t>(i)];
    norm(hidden, layer.attention_norm, normed);
    attend(step, i, cache, &counts);
    norm(hidden, layer.mlp_norm, normed);
    feed_forward(n, layer);
  }
  return counts;
}

// x += W_o attention(rope(W_q x), rope(W_k x), W_v x)
void Llama::attend(const Step& step, int64_t layer, KvCache& cache, AttentionCounts* counts) {
  const int64_t n = step.num_tokens();
  const LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
  const TensorView q = first_rows(workspace_.q, {n, w.q.weight.rows});
  const TensorView k = first_rows(workspace_.k, {n, w.k.weight.rows});
  const TensorView v = first_rows(workspace_.v, {n, w.v.weight.rows});
  const TensorView hidden = first_rows(workspace_.hidden, {n, config_.hidden_size});
  const TensorView k_heads = by_head(k, n, config_.num_kv_heads);
  const LinearOutput qkv[] = {w.q.output(q), w.k.output(k), w.v.output(v)};
  project(first_rows(workspace_.normed, {n, config_.hidden_size}), qkv);
  backend_.rope({by_head(q, n, config_.num_q_heads), k_heads,
                 first_rows(workspace_.cos_sin, {n, 2, config_.head_dim / 2})});
  for (const HeadClass c : {HeadClass::kRetrieval, HeadClass::kStreaming}) {
    if (pattern_.heads(layer, c).empty()) continue;
    backend_.write_kv({k_heads, by_head(v, n, config_.num_kv_heads), cache.view(layer, c),
                       pattern_.heads(layer, c), step.slots[index_of(c)]});
  }
  if (!step.prefill.sequences.empty()) prefill(step, layer, cache, counts);
  if (!step.decode.sequences.empty()) decode(step, layer, cache, counts);
  const LinearOutput o[] = {w.o.output(hidden, /*accumulate=*/true)};
  project(first_rows(workspace_.attention, {n, w.o.weight.columns}), o);
}

void Llama::prefill(const Step& step, int64_t layer, KvCache& cache, AttentionCounts* counts) {
  const auto pools = cache.views(layer);
  const auto tables = step.prefill.tables();
  const int64_t n = step.num_tokens();
  plan_prefill(step.prefill, pattern_, layer, attention_, &prefill_plan_);
  counts->prefill_read += prefill_plan_.blocks_read;
  counts->prefill_held += prefill_plan_.blocks_held;
  backend_.prefill_attention(
      {.q = by_head(workspace_.q, n, config_.num_q_heads),
       .out = by_head(workspace_.attention, n, config_.num_q_heads),
       .pools = pools,
       .page_tables = tables,
       .work = prefill_plan_.work,
       .ranges = prefill_plan_.ranges,
       .gqa_group_size = static_cast<int32_t>(config_.gqa_group_size()),
       .softmax_scale = 1.0F / std::sqrt(static_cast<float>(config_.head_dim))});
}

void Llama::decode(const Step& step, int64_t layer, KvCache& cache, AttentionCounts* counts) {
  const auto pools = cache.views(layer);
  const int64_t n = step.num_tokens();
  plan_decode(step.decode, pattern_, layer, attention_,
              static_cast<int32_t>(config_.gqa_group_size()), &decode_plan_);
  counts->decode_read += decode_plan_.pages_read;
  counts->decode_held += decode_plan_.pages_held;
  select_pages(step, pools[index_of(HeadClass::kRetrieval)], counts);
  backend_.decode_attention(
      {.q = by_head(workspace_.q, n, config_.num_q_heads),
       .out = by_head(workspace_.attention, n, config_.num_q_heads),
       .pools = pools,
       .work = decode_plan_.work,
       .spans = decode_plan_.spans,
       .softmax_scale = 1.0F / std::sqrt(static_cast<float>(config_.head_dim))});
}

void Llama::select_pages(const Step& step, const PagedKvView& kv, AttentionCounts* counts) {
  DecodePlan& plan = decode_plan_;
  const auto& page_ids = step.decode.page_ids[index_of(HeadClass::kRetrieval)];
  const auto items = static_cast<int64_t>(plan.score.size());
  if (items > 0) {
    counts->refreshes += items;
    const TensorView scores = first_rows(workspace_.scores, {items, workspace_.limits.max_pages});
    backend_.page_scores({.q = by_head(workspace_.q, step.num_tokens(), config_.num_q_heads),
                          .kv = kv,
                          .page_ids = page_ids,
                          .work = plan.score,
                          .mean = attention_.selector_group == SelectorGroup::kMean,
                          .scores = scores});
    backend_.select_pages({.scores = scores,
                           .num_pages = plan.select_num_pages,
                           .rows = plan.select_rows,
                           .budget = attention_.budget_pages(),
                           .num_sink_pages = attention_.num_sink_pages(),
                           .selected = workspace_.selected});
  }
  if (!plan.gather.empty()) {
    backend_.gather_spans({workspace_.selected, page_ids, plan.gather, plan.spans});
  }
}

// x += W_down (silu(W_gate x) * W_up x)
void Llama::feed_forward(int64_t n, const LayerWeights& layer) {
  const TensorView gate = first_rows(workspace_.gate, {n, config_.intermediate_size});
  const TensorView up = first_rows(workspace_.up, {n, config_.intermediate_size});
  const TensorView hidden = first_rows(workspace_.hidden, {n, config_.hidden_size});
  const LinearOutput gate_up[] = {layer.gate.output(gate), layer.up.output(up)};
  project(first_rows(workspace_.normed, {n, config_.hidden_size}), gate_up);
  backend_.silu_mul({gate, up, gate});
  const LinearOutput down[] = {layer.down.output(hidden, /*accumulate=*/true)};
  project(gate, down);
}

void Llama::project(const TensorView& x, std::span<const LinearOutput> outputs) {
  backend_.linear(
      {.x = x,
       .outputs = outputs,
       .low_rank_scratch = first_rows(workspace_.low_rank, {x.dim(0), total_rank(outputs)})});
}

TensorView Llama::logits(int64_t first, int64_t count) {
  CHECK_LE(count, workspace_.limits.max_logit_rows);
  const int64_t width = config_.hidden_size;
  const TensorView rows(workspace_.hidden.as<float>() + first * width, {count, width});
  const TensorView normed = first_rows(workspace_.normed, {count, width});
  norm(rows, weights_.final_norm, normed);
  const TensorView out = first_rows(workspace_.logits, {count, config_.vocab_size});
  const LinearOutput head[] = {{.weight = &weights_.output(), .out = out}};
  backend_.linear({.x = normed, .outputs = head, .precise = true});
  return out;
}

void Llama::norm(const TensorView& x, const VectorWeight& weight, const TensorView& out) {
  backend_.rms_norm({x, weight.view(), out, static_cast<float>(config_.rms_norm_eps)});
}

TensorView Llama::by_head(const TensorView& matrix, int64_t num_tokens, int64_t num_heads) const {
  return first_rows(matrix, {num_tokens, num_heads, config_.head_dim});
}

}  // namespace lserve
