#include "evaluation/op_cost.h"

#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "base/checked_math.h"
#include "base/strings.h"

namespace lserve {

namespace {

constexpr double kFloat = sizeof(float);

class Counter {
 public:
  Counter(Engine& engine, const MeasuredSteps& steps)
      : engine_(engine),
        model_(engine.config()),
        steps_(steps),
        layers_(static_cast<double>(model_.num_layers)),
        tokens_(static_cast<double>(steps.num_tokens)),
        rows_(static_cast<double>(steps.num_rows)),
        hidden_(static_cast<double>(model_.hidden_size)) {
    const KvCacheConfig& kv = engine.plan().memory.kv;
    page_ = {.format = kv.format,
             .page_score = kv.page_score,
             .stats_format = kv.stats_format,
             .head_dim = kv.head_dim,
             .logical_page_size = kv.logical_page_size};
  }

  OpCost of(std::string_view op) const {
    if (op.starts_with("linear ") || op.starts_with("norm_linear ")) return linear(op);
    for (const auto& [name, count] : kOthers) {
      if (name == op) return (this->*count)();
    }
    return {};
  }

 private:
  struct Call {
    std::string_view op;  // linear or norm_linear
    std::vector<const Weight*> weights;
    double out;  // numbers of a row of the result
    double rows;
    int64_t calls;
  };
  void add_call(std::string_view op, const Call& call, OpCost* cost) const {
    int64_t rows = 0;
    double bytes = 0;
    for (const Weight* w : call.weights) {
      rows += w->rows;
      bytes += static_cast<double>(engine_.backend().weight_bytes(w->format, w->rows, w->columns));
    }
    const Weight& first = *call.weights.front();
    if (op != cat(call.op, " ", rows, " x ", first.columns)) return;
    const auto columns = static_cast<double>(first.columns);
    cost->bytes +=
        bytes * static_cast<double>(call.calls) + call.rows * (columns + call.out) * kFloat;
    if (!is_row_quantised(first.format)) {
      cost->operations += 2 * static_cast<double>(rows) * columns * call.rows;
    }
  }
  // Adapters are left out: their time is in the product's, their share of it small. So are norms
  // and gates.
  OpCost linear(std::string_view op) const {
    OpCost cost;
    const auto width = [](const Weight& w) { return static_cast<double>(w.rows); };
    for (const LayerWeights& w : engine_.weights().layers) {
      const double qkv = width(w.q.weight) + width(w.k.weight) + width(w.v.weight);
      const auto add = [&](std::string_view name, std::vector<const Weight*> weights, double out) {
        add_call(op, {name, std::move(weights), out, tokens_, steps_.num_steps}, &cost);
      };
      add("norm_linear", {&w.q.weight, &w.k.weight, &w.v.weight}, qkv);
      add("linear", {&w.o.weight}, width(w.o.weight));
      add("norm_linear", {&w.gate.weight, &w.up.weight}, width(w.gate.weight));
      add("linear", {&w.down.weight}, width(w.down.weight));
    }
    const Weight& head = engine_.weights().output();
    add_call(op, {"norm_linear", {&head}, width(head), rows_, steps_.num_logits}, &cost);
    return cost;
  }

  OpCost embed() const {
    const Weight& table = engine_.weights().embedding;
    const auto row = static_cast<double>(
                         engine_.backend().weight_bytes(table.format, table.rows, table.columns)) /
                     static_cast<double>(table.rows);
    return {tokens_ * (row + hidden_ * kFloat), 0};
  }
  // q in and out, k and v in, both as they are stored; statistics are small beside them.
  OpCost rope_write_kv() const {
    const auto q = static_cast<double>(model_.num_q_heads * model_.head_dim);
    const auto heads = static_cast<double>(model_.num_kv_heads);
    const auto kv = heads * static_cast<double>(model_.head_dim);
    const double stored = heads * static_cast<double>(page_.tile_bytes()) / kPageSize;
    const double values = layers_ * tokens_;
    return {values * ((2 * q + 2 * kv) * kFloat + stored), values * 3 * (q + kv)};
  }

  double group() const { return static_cast<double>(model_.gqa_group_size()); }
  double activations() const {
    return 2 * layers_ * tokens_ * static_cast<double>(model_.num_q_heads * model_.head_dim) *
           kFloat;
  }
  OpCost decode_attention() const {
    const auto pages = static_cast<double>(steps_.counts.decode_read);
    return {pages * static_cast<double>(page_.tile_bytes()) + activations(),
            pages * 4 * kPageSize * static_cast<double>(model_.head_dim) * group()};
  }
  // Bytes of keys are left out: how often caches hold a block is not known, and products decide.
  OpCost prefill_attention() const {
    const auto blocks = static_cast<double>(steps_.counts.prefill_read);
    return {activations(),
            blocks * 4 * kPageSize * kPageSize * static_cast<double>(model_.head_dim) * group()};
  }

  double pages_scored() const {
    return static_cast<double>(steps_.counts.refreshes) *
           static_cast<double>(ceil_div<int64_t>(steps_.kv_len, kPageSize));
  }
  OpCost page_scores() const {
    const auto stats = static_cast<double>(page_.stats_elements());
    const double numbers = page_.stats_format == KeyStatsFormat::kInt8 ? 2 * stats : stats;
    return {pages_scored() * (stats * sizeof(bf16) + kFloat),
            pages_scored() * numbers * 2 * group()};
  }
  OpCost select_spans() const { return {pages_scored() * kFloat, pages_scored()}; }
  OpCost sample() const {
    const double values = rows_ * static_cast<double>(model_.vocab_size);
    return {values * kFloat, values};
  }

  using Count = OpCost (Counter::*)() const;
  static constexpr std::array<std::pair<std::string_view, Count>, 7> kOthers = {{
      {"embed", &Counter::embed},
      {"rope_write_kv", &Counter::rope_write_kv},
      {"decode_attention", &Counter::decode_attention},
      {"prefill_attention", &Counter::prefill_attention},
      {"page_scores", &Counter::page_scores},
      {"select_spans", &Counter::select_spans},
      {"sample", &Counter::sample},
  }};

  Engine& engine_;
  const ModelConfig& model_;
  const MeasuredSteps& steps_;
  double layers_, tokens_, rows_, hidden_;
  PagedKvView page_;
};

}  // namespace

std::vector<CountedOp> count_ops(Engine& engine, const std::vector<OpTime>& times,
                                 const MeasuredSteps& steps) {
  const Counter counter(engine, steps);
  std::vector<CountedOp> ops;
  for (const OpTime& time : times) ops.push_back({time, counter.of(time.op)});
  return ops;
}

}  // namespace lserve
