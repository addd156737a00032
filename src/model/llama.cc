#include "model/llama.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "model/rope_table.h"

namespace lserve {

Llama::Llama(ModelConfig config, ModelWeights weights, Workspace workspace, StepLists lists,
             AttentionConfig attention, HeadPattern pattern, Backend& backend)
    : config_(std::move(config)),
      weights_(std::move(weights)),
      workspace_(std::move(workspace)),
      attention_(attention),
      pattern_(std::move(pattern)),
      backend_(backend),
      rope_frequencies_(rope_frequencies(config_.rope, config_.head_dim)),
      lists_(std::move(lists)),
      layer_lists_(static_cast<size_t>(config_.num_layers)) {
  CHECK_EQ(pattern_.num_layers(), config_.num_layers);
  CHECK_EQ(pattern_.num_kv_heads(), config_.num_kv_heads);
}

Result<std::unique_ptr<Llama>> Llama::create(ModelConfig config, ModelWeights weights,
                                             Workspace workspace, StepLists lists,
                                             AttentionConfig attention, HeadPattern pattern,
                                             Backend& backend) {
  std::unique_ptr<Llama> llama(new Llama(std::move(config), std::move(weights),
                                         std::move(workspace), std::move(lists), attention,
                                         std::move(pattern), backend));
  RETURN_IF_ERROR(llama->place_pattern());
  return llama;
}

void Llama::reserve_decode(int64_t num_sequences, int64_t max_pages) {
  const int64_t budget = has_page_selection(attention_.mode) ? attention_.budget_pages() : 0;
  const int64_t q_heads = num_sequences * config_.num_q_heads;
  lserve::reserve_decode(q_heads, num_sequences * (max_pages + 1), std::min(budget, max_pages),
                         &decode_plan_);
  select_gather_.reserve(static_cast<size_t>(q_heads));
  gather_.reserve(static_cast<size_t>(q_heads * config_.num_layers));
}

AttentionCounts Llama::forward(const Step& step, KvCache& cache) {
  CHECK_LE(step.num_tokens(), workspace_.limits.max_tokens);
  AttentionCounts counts;
  plan(step, &counts);
  lists_.upload(backend_);
  if (repeats_) {
    backend_.run_graph(graph_key(), [&] { run_layers(shape_.num_rows, cache); });
  } else {
    run_layers(step.num_tokens(), cache);
  }
  return counts;
}

void Llama::run_layers(int64_t n, const KvCache& cache) {
  const TensorView hidden = first_rows(workspace_.hidden, {n, config_.hidden_size});
  backend_.embed({&weights_.embedding, shared_.token_ids, hidden});
  if (!shared_.gather.empty()) {
    backend_.gather_spans({workspace_.selected,
                           shared_.decode_pages[index_of(HeadClass::kRetrieval)], shared_.gather,
                           shared_.spans});
  }
  for (int64_t i = 0; i < config_.num_layers; ++i) {
    attend(n, i, cache);
    feed_forward(n, weights_.layers[static_cast<size_t>(i)]);
  }
}

// x += W_o attention(rope(W_q n(x)), rope(W_k n(x)), W_v n(x))   n: the layer's first norm
void Llama::attend(int64_t n, int64_t layer, const KvCache& cache) {
  const LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
  const LayerLists& lists = layer_lists_[static_cast<size_t>(layer)];
  const TensorView q = first_rows(workspace_.q, {n, w.q.weight.rows});
  const TensorView k = first_rows(workspace_.k, {n, w.k.weight.rows});
  const TensorView v = first_rows(workspace_.v, {n, w.v.weight.rows});
  const TensorView hidden = first_rows(workspace_.hidden, {n, config_.hidden_size});
  const LinearOutput qkv[] = {w.q.output(q), w.k.output(k), w.v.output(v)};
  backend_.norm_linear(normed(hidden, w.attention_norm, qkv));
  const auto pools = cache.views(layer);
  const KvWrites writes = kv_writes(n, layer, pools);
  backend_.rope_write_kv(
      {{by_head(q, n, config_.num_q_heads), by_head(k, n, config_.num_kv_heads), shared_.cos_sin},
       writes.span()});
  if (!lists.prefill_work.empty()) prefill(n, lists, pools);
  if (!lists.decode_work.empty()) decode(n, lists, pools);
  const LinearOutput o[] = {w.o.output(hidden, /*accumulate=*/true)};
  project(first_rows(workspace_.attention, {n, w.o.weight.columns}), o);
}

Llama::KvWrites Llama::kv_writes(int64_t n, int64_t layer,
                                 std::span<const PagedKvView> pools) const {
  const LayerLists& lists = layer_lists_[static_cast<size_t>(layer)];
  KvWrites writes;
  for (size_t c = 0; c < pools.size(); ++c) {
    if (lists.kv_heads[c].empty()) continue;
    writes.pools[writes.count++] = {by_head(workspace_.k, n, config_.num_kv_heads),
                                    by_head(workspace_.v, n, config_.num_kv_heads), pools[c],
                                    lists.kv_heads[c], shared_.slots[c]};
  }
  return writes;
}

void Llama::fill(const Step& step, KvCache& cache, std::span<const float> values) {
  const auto n = static_cast<size_t>(step.num_tokens());
  const auto width = static_cast<size_t>(config_.num_kv_heads * config_.head_dim);
  CHECK_GE(values.size(), 3 * n * width);
  lists_.clear();
  place_shared(step, step.num_tokens());
  lists_.upload(backend_);
  for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
    // Each layer another part of the values.
    const size_t first = static_cast<size_t>(layer) * 7 % n * width;
    const auto k = values.subspan(first, n * width);
    const auto v = values.subspan(first + n * width, n * width);
    backend_.upload(workspace_.k.data, k.data(), k.size_bytes());
    backend_.upload(workspace_.v.data, v.data(), v.size_bytes());
    const auto pools = cache.views(layer);
    const KvWrites writes = kv_writes(step.num_tokens(), layer, pools);
    for (const WriteKvParams& pool : writes.span()) backend_.write_kv(pool);
  }
}

void Llama::prefill(int64_t n, const LayerLists& lists, std::span<const PagedKvView> pools) {
  backend_.prefill_attention(
      {.q = by_head(workspace_.q, n, config_.num_q_heads),
       .out = by_head(workspace_.attention, n, config_.num_q_heads),
       .pools = pools,
       .page_tables = shared_.prefill_pages,
       .work = lists.prefill_work,
       .ranges = lists.ranges,
       .gqa_group_size = static_cast<int32_t>(config_.gqa_group_size()),
       .softmax_scale = 1.0F / std::sqrt(static_cast<float>(config_.head_dim))});
}

void Llama::decode(int64_t n, const LayerLists& lists, std::span<const PagedKvView> pools) {
  select_pages(n, lists, pools[index_of(HeadClass::kRetrieval)]);
  backend_.decode_attention(
      {.q = by_head(workspace_.q, n, config_.num_q_heads),
       .out = by_head(workspace_.attention, n, config_.num_q_heads),
       .pools = pools,
       .work = lists.decode_work,
       .spans = shared_.spans,
       .softmax_scale = 1.0F / std::sqrt(static_cast<float>(config_.head_dim)),
       .max_spans = lists.bounds.max_spans,
       .max_q_heads = lists.bounds.max_q_heads});
}

void Llama::select_pages(int64_t n, const LayerLists& lists, const PagedKvView& kv) {
  const auto items = static_cast<int64_t>(lists.score.size());
  if (items == 0) return;
  const std::span<const int32_t> page_ids = shared_.decode_pages[index_of(HeadClass::kRetrieval)];
  const TensorView scores = first_rows(workspace_.scores, {items, workspace_.limits.max_pages});
  backend_.page_scores({.q = by_head(workspace_.q, n, config_.num_q_heads),
                        .kv = kv,
                        .page_ids = page_ids,
                        .work = lists.score,
                        .mean = attention_.selector_group == SelectorGroup::kMean,
                        .scores = scores,
                        .max_num_pages = lists.bounds.max_num_pages,
                        .max_q_heads = lists.bounds.max_q_heads});
  backend_.select_spans({.select = {.scores = scores,
                                    .num_pages = lists.select_num_pages,
                                    .rows = lists.select_rows,
                                    .budget = attention_.budget_pages(),
                                    .num_sink_pages = attention_.num_sink_pages(),
                                    .selected = workspace_.selected},
                         .page_ids = page_ids,
                         .gather = lists.select_gather,
                         .spans = shared_.spans});
}

// x += W_down (silu(W_gate n(x)) * W_up n(x))   n: the layer's second norm
void Llama::feed_forward(int64_t n, const LayerWeights& layer) {
  TensorView inner = first_rows(workspace_.gate, {n, config_.intermediate_size});
  const TensorView up = first_rows(workspace_.up, {n, config_.intermediate_size});
  const TensorView hidden = first_rows(workspace_.hidden, {n, config_.hidden_size});
  inner.dtype = inner_dtype(layer);
  const LinearOutput gate_up[] = {layer.gate.output(inner), layer.up.output(up)};
  NormLinearParams params = normed(hidden, layer.mlp_norm, gate_up);
  params.gated = true;
  params.largest = first_rows(workspace_.largest, {n, workspace_.largest.dim(1)});
  const bool has_largest = backend_.norm_linear(params);
  const LinearOutput down[] = {layer.down.output(hidden, /*accumulate=*/true)};
  project(inner, down, has_largest ? params.largest : TensorView());
}

DType Llama::inner_dtype(const LayerWeights& layer) const {
  for (const Projection* matrix : {&layer.gate, &layer.up, &layer.down}) {
    const bool alone = matrix->bias.size == 0 && matrix->a.rows == 0;
    if (!alone || backend_.input_dtype(matrix->weight, rows_) != DType::kBF16) return DType::kF32;
  }
  return DType::kBF16;
}

void Llama::project(const TensorView& x, std::span<const LinearOutput> outputs,
                    const TensorView& x_largest) {
  backend_.linear(
      {.x = x,
       .outputs = outputs,
       .rows = rows_,
       .x_largest = x_largest,
       .low_rank_scratch = first_rows(workspace_.low_rank, {x.dim(0), total_rank(outputs)})});
}

NormLinearParams Llama::normed(const TensorView& x, const VectorWeight& weight,
                               std::span<const LinearOutput> outputs) const {
  const TensorView out = first_rows(workspace_.normed, x.shape);
  return {.norm = {x, weight.view(), out, static_cast<float>(config_.rms_norm_eps)},
          .linear = {.x = out,
                     .outputs = outputs,
                     .rows = rows_,
                     .low_rank_scratch =
                         first_rows(workspace_.low_rank, {x.dim(0), total_rank(outputs)})}};
}

TensorView Llama::logits(int64_t first, int64_t count, RowCount row_count) {
  CHECK_LE(count, workspace_.limits.max_logit_rows);
  const int64_t width = config_.hidden_size;
  const TensorView rows(workspace_.hidden.as<float>() + first * width, {count, width});
  const TensorView out = first_rows(workspace_.logits, {count, config_.vocab_size});
  const LinearOutput head[] = {{.weight = &weights_.output(), .out = out}};
  NormLinearParams params = normed(rows, weights_.final_norm, head);
  params.linear.precise = true;
  params.linear.rows = row_count;
  backend_.norm_linear(params);
  return out;
}

TensorView Llama::by_head(const TensorView& matrix, int64_t num_tokens, int64_t num_heads) const {
  return first_rows(matrix, {num_tokens, num_heads, config_.head_dim});
}

}  // namespace lserve
