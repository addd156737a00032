#include "evaluation/step_cost.h"

#include "attention/page_selection.h"
#include "base/checked_math.h"

namespace lserve {

namespace {

template <typename Count>
double sum_of_layer_matrices(const ModelWeights& weights, Count count) {
  double sum = 0;
  for (const LayerWeights& layer : weights.layers) {
    for (const Projection* p :
         {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down}) {
      sum += count(p->weight) + count(p->a) + count(p->b);
    }
  }
  return sum;
}

double operations_of(const Weight& weight) {
  return 2 * static_cast<double>(weight.rows) * static_cast<double>(weight.columns);
}

}  // namespace

double decode_bytes_per_step(Engine& engine, const AttentionCounts& counts, int64_t steps,
                             int64_t kv_len) {
  const Backend& backend = engine.backend();
  const auto bytes_of = [&](const Weight& w) {
    return w.rows == 0 ? 0.0
                       : static_cast<double>(backend.weight_bytes(w.format, w.rows, w.columns));
  };
  const KvCacheConfig& kv = engine.plan().memory.kv;
  const PagedKvView of_page{.format = kv.format,
                            .page_score = kv.page_score,
                            .stats_format = kv.stats_format,
                            .head_dim = kv.head_dim,
                            .logical_page_size = kv.logical_page_size};
  const auto pages_read = static_cast<double>(counts.decode_read);
  const auto pages_scored =
      static_cast<double>(counts.refreshes * ceil_div<int64_t>(kv_len, kPageSize));
  const double cache =
      pages_read * static_cast<double>(of_page.tile_bytes()) +
      pages_scored * static_cast<double>(of_page.stats_elements() * int64_t{sizeof(bf16)});
  return sum_of_layer_matrices(engine.weights(), bytes_of) + bytes_of(engine.weights().output()) +
         cache / static_cast<double>(steps);
}

double prefill_operations(const Engine& engine, const AttentionCounts& counts,
                          int64_t prompt_tokens) {
  const ModelConfig& model = engine.config();
  const double matrices =
      sum_of_layer_matrices(engine.weights(), operations_of) * static_cast<double>(prompt_tokens) +
      operations_of(engine.weights().output());
  // q . k and p * v, for the query heads that share a key block.
  const double of_block = 4.0 * kPageSize * kPageSize * static_cast<double>(model.head_dim) *
                          static_cast<double>(model.gqa_group_size());
  return matrices + static_cast<double>(counts.prefill_read) * of_block;
}

}  // namespace lserve
