#include "cli/latency_report.h"

#include <algorithm>
#include <utility>

#include "base/strings.h"

namespace lserve {

namespace {

// A step's bytes against the speed of memory, a prompt's operations against that of products; 0:
// not known.
struct OfCeilings {
  double decode = 0;
  double prefill = 0;
};

OfCeilings of_ceilings(const Latency& m, const Ceilings& ceilings) {
  OfCeilings part;
  if (ceilings.memory_gb_s() > 0 && !m.decode_ms.empty()) {
    part.decode =
        m.decode_bytes / (quantile(m.decode_ms, 0.5) * 1e-3) / (ceilings.memory_gb_s() * 1e9);
  }
  if (ceilings.product_tflop_s() > 0 && !m.prefill_ms.empty()) {
    part.prefill = m.prefill_operations / (quantile(m.prefill_ms, 0.5) * 1e-3) /
                   (ceilings.product_tflop_s() * 1e12);
  }
  return part;
}

// The least time that an operation's bytes and operations take by the ceilings, of the time that it
// took; 0: not known.
double of_ceiling(const CountedOp& op, const Ceilings& ceilings) {
  double least = 0;
  if (ceilings.memory_gb_s() > 0) least = op.cost.bytes / (ceilings.memory_gb_s() * 1e9);
  if (ceilings.product_tflop_s() > 0) {
    least = std::max(least, op.cost.operations / (ceilings.product_tflop_s() * 1e12));
  }
  return op.seconds > 0 ? least / op.seconds : 0;
}

// Of one prompt, or of one decode step.
Json to_json(const std::vector<CountedOp>& ops, int64_t steps, const Ceilings& ceilings) {
  Json list = Json::array();
  for (const CountedOp& op : ops) {
    const auto each = [&](double sum) { return sum / static_cast<double>(steps); };
    Json json = Json::object()
                    .set("op", op.op)
                    .set("calls", each(static_cast<double>(op.calls)))
                    .set("us", each(op.seconds * 1e6));
    if (op.cost.bytes > 0) json.set("bytes", each(op.cost.bytes));
    if (op.cost.operations > 0) json.set("operations", each(op.cost.operations));
    if (const double part = of_ceiling(op, ceilings); part > 0) json.set("of_ceiling", part);
    list.push_back(std::move(json));
  }
  return list;
}

std::string percent(double part) { return part > 0 ? cat(fixed(100 * part, 1), "%") : "-"; }

// "14.96 GiB", "8.03 B".
std::string size_text(int64_t bytes) { return human_bytes(static_cast<uint64_t>(bytes)); }
std::string parameters_text(int64_t count) {
  const auto of = [&](double unit, const char* name) {
    return cat(fixed(static_cast<double>(count) / unit, 2), name);
  };
  return count >= 1'000'000'000 ? of(1e9, " B") : of(1e6, " M");
}

// Tokens a second by the median of a step or prompt of so many tokens, and the times themselves.
std::string times_text(double tokens, const std::vector<double>& ms) {
  std::string text = fixed(tokens * 1000 / quantile(ms, 0.5), 1);
  for (const double q : {0.5, 0.99, 0.0, 1.0}) text += cat(" | ", fixed(quantile(ms, q), 2));
  return text;
}

// Where the time goes: one line an operation, of a prompt or of a decode step.
std::string op_table(const char* of, const std::vector<CountedOp>& ops, int64_t steps,
                     const Ceilings& ceilings) {
  if (ops.empty()) return "";
  double total = 0;
  for (const CountedOp& op : ops) total += op.seconds;
  const auto each = [&](double sum, int digits) {
    return sum > 0 ? fixed(sum / static_cast<double>(steps), digits) : "-";
  };
  std::string table = cat("\n| operation of ", of,
                          " | calls | us | share | MB | GFLOP | of ceiling |\n"
                          "|---|---|---|---|---|---|---|\n");
  for (const CountedOp& op : ops) {
    table += cat("| ", op.op, " | ", each(static_cast<double>(op.calls), 1), " | ",
                 each(op.seconds * 1e6, 1), " | ", percent(op.seconds / total), " | ",
                 each(op.cost.bytes * 1e-6, 2), " | ", each(op.cost.operations * 1e-9, 2), " | ",
                 percent(of_ceiling(op, ceilings)), " |\n");
  }
  return table;
}

}  // namespace

Json to_json(const LatencyFigure& figure, const Ceilings& ceilings) {
  const Latency& m = figure.latency;
  Json json = Json::object()
                  .set("attention", figure.attention)
                  .set("batch", m.point.batch)
                  .set("prompt_tokens", m.point.prompt_tokens);
  if (!figure.does_not_fit.empty()) return json.set("does_not_fit", figure.does_not_fit);
  const OfCeilings part = of_ceilings(m, ceilings);
  if (!m.prefill_ms.empty()) {
    json.set("prefill_ms", quantile(m.prefill_ms, 0.5))
        .set("prefill_ms_min", quantile(m.prefill_ms, 0))
        .set("prefill_ms_max", quantile(m.prefill_ms, 1))
        .set("prefill_tokens_per_s", m.prefill_tokens_per_second())
        .set("prefill_operations", m.prefill_operations);
    if (part.prefill > 0) json.set("prefill_of_ceiling", part.prefill);
  }
  if (part.decode > 0) json.set("decode_of_ceiling", part.decode);
  if (!m.prefill_ops.empty()) json.set("prefill_ops", to_json(m.prefill_ops, 1, ceilings));
  if (!m.decode_ops.empty()) {
    json.set("decode_ops", to_json(m.decode_ops, m.point.decode_tokens, ceilings));
  }
  return json.set("decode_bytes", m.decode_bytes)
      .set("decode_ms_median", quantile(m.decode_ms, 0.5))
      .set("decode_ms_p99", quantile(m.decode_ms, 0.99))
      .set("decode_ms_min", quantile(m.decode_ms, 0))
      .set("decode_ms_max", quantile(m.decode_ms, 1))
      .set("decode_tokens_per_s", m.decode_tokens_per_second())
      .set("decode_pages_read", m.counts.decode_read)
      .set("decode_pages_held", m.counts.decode_held);
}

std::string latency_table_head() {
  return "| model | size | params | backend | attn | test | t/s | ms | p99 | min | max | of "
         "ceiling "
         "| pages |\n|---|---:|---:|---|---|---|---:|---:|---:|---:|---:|---:|---:|\n";
}

std::string latency_table_rows(const LatencySubject& subject, const LatencyFigure& figure,
                               const Ceilings& ceilings) {
  const Latency& m = figure.latency;
  const LatencyPoint& point = m.point;
  const std::string begin = cat("| ", subject.model, " | ", size_text(figure.weight_bytes), " | ",
                                parameters_text(subject.num_parameters), " | ", subject.backend,
                                " | ", figure.attention, " | ");
  const std::string decode = cat("tg", point.decode_tokens, " @ d", point.prompt_tokens,
                                 point.batch > 1 ? cat(" x ", point.batch) : "", " | ");
  if (!figure.does_not_fit.empty()) {
    return cat(begin, decode, figure.does_not_fit, " | | | | | | |\n");
  }
  const OfCeilings part = of_ceilings(m, ceilings);
  std::string rows;
  if (!m.prefill_ms.empty()) {
    rows += cat(begin, "pp", point.prompt_tokens, " | ",
                times_text(static_cast<double>(point.prompt_tokens), m.prefill_ms), " | ",
                percent(part.prefill), " | - |\n");
  }
  const auto held = static_cast<double>(std::max<int64_t>(m.counts.decode_held, 1));
  return rows + cat(begin, decode, times_text(static_cast<double>(point.batch), m.decode_ms), " | ",
                    percent(part.decode), " | ",
                    percent(static_cast<double>(m.counts.decode_read) / held), " |\n");
}

std::string latency_op_tables(const Latency& latency, const Ceilings& ceilings) {
  return op_table("a prompt", latency.prefill_ops, 1, ceilings) +
         op_table("a decode step", latency.decode_ops, latency.point.decode_tokens, ceilings);
}

}  // namespace lserve
