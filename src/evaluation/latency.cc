#include "evaluation/latency.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/checked_math.h"
#include "base/random.h"
#include "evaluation/step_cost.h"

namespace lserve {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kLongPrompt = 65536;
// Every phase of the selector's reuse, twice.
constexpr int64_t kWarmupSteps = 8;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

std::vector<int32_t> random_prompt(int64_t count, int64_t vocab_size, uint64_t seed) {
  Random random(seed);
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (int32_t& token : tokens) token = static_cast<int32_t>(random.integer(0, vocab_size - 1));
  return tokens;
}

Result<Sequence> read_prompt(Engine& engine, std::span<const int32_t> prompt, int32_t* token) {
  Sequence sequence = engine.new_sequence();
  RETURN_IF_ERROR(
      engine.prefill_chunks(sequence, prompt, [](int64_t, int64_t) { return Status(); }));
  ASSIGN_OR_RETURN(*token, engine.draw({}, sequence.kv_len()));
  return sequence;
}

// One token for each sequence, `steps` times; tokens: what was drawn last.
Status decode_steps(Engine& engine, std::span<Sequence* const> sequences, int64_t steps,
                    std::vector<int32_t> tokens, std::vector<double>* ms) {
  std::vector<SampleRow> rows(sequences.size());
  for (int64_t i = 0; i < steps; ++i) {
    const auto start = Clock::now();
    RETURN_IF_ERROR(engine.decode(sequences, tokens));
    for (size_t s = 0; s < rows.size(); ++s) rows[s].position = sequences[s]->kv_len();
    RETURN_IF_ERROR(engine.draw(rows, tokens));
    ms->push_back(ms_since(start));
  }
  return {};
}

// Moves what was taken since the last call, by these steps, into `out`.
void take_op_times(Engine& engine, OpTimes* op_times, const MeasuredSteps& steps,
                   std::vector<CountedOp>* out) {
  if (op_times == nullptr) return;
  engine.backend().synchronize();
  *out = count_ops(engine, op_times->all(), steps);
  op_times->clear();
}
void forget_op_times(Engine& engine, OpTimes* op_times) {
  std::vector<CountedOp> nothing;
  take_op_times(engine, op_times, {}, &nothing);
}

MeasuredSteps decode_part(const LatencyPoint& point, const AttentionCounts& counts) {
  return {.counts = counts,
          .num_steps = point.decode_tokens,
          .num_tokens = point.decode_tokens * point.batch,
          .num_rows = point.decode_tokens * point.batch,
          .num_logits = point.decode_tokens,
          .kv_len = point.prompt_tokens};
}

Status run_once(Engine& engine, std::span<const int32_t> prompt, int64_t decode_tokens,
                OpTimes* op_times, Latency* out) {
  forget_op_times(engine, op_times);
  const auto start = Clock::now();
  int32_t token = 0;
  ASSIGN_OR_RETURN(Sequence sequence, read_prompt(engine, prompt, &token));
  out->prefill_ms.push_back(ms_since(start));
  const auto prompt_tokens = static_cast<int64_t>(prompt.size());
  take_op_times(engine, op_times,
                {.counts = engine.counts(),
                 .num_steps = ceil_div<int64_t>(prompt_tokens, engine.chunk()),
                 .num_tokens = prompt_tokens},
                &out->prefill_ops);
  Sequence* const one = &sequence;
  RETURN_IF_ERROR(
      decode_steps(engine, std::span(&one, 1), decode_tokens, {token}, &out->decode_ms));
  if (decode_tokens > 0) {
    const LatencyPoint point{.prompt_tokens = prompt_tokens, .decode_tokens = decode_tokens};
    take_op_times(engine, op_times, decode_part(point, engine.counts()), &out->decode_ops);
  }
  return {};
}

Status run_on_random_cache(Engine& engine, const LatencyPoint& point, OpTimes* op_times,
                           Latency* out) {
  const int64_t warmup_steps = std::min(kWarmupSteps, point.prompt_tokens - 1);
  std::vector<Sequence> sequences;
  for (int64_t i = 0; i < point.batch; ++i) {
    sequences.push_back(engine.new_sequence(i));
    RETURN_IF_ERROR(engine.fill(sequences.back(), point.prompt_tokens - warmup_steps,
                                point.seed + static_cast<uint64_t>(i)));
  }
  std::vector<Sequence*> all;
  for (Sequence& sequence : sequences) all.push_back(&sequence);
  const std::vector<int32_t> tokens(all.size(), 0);
  std::vector<double> warmup;
  RETURN_IF_ERROR(decode_steps(engine, all, warmup_steps, tokens, &warmup));
  forget_op_times(engine, op_times);
  engine.reset_counts();
  RETURN_IF_ERROR(decode_steps(engine, all, point.decode_tokens, tokens, &out->decode_ms));
  out->counts = engine.counts();
  take_op_times(engine, op_times, decode_part(point, out->counts), &out->decode_ops);
  return {};
}

void count_decode(Engine& engine, Latency* result) {
  const LatencyPoint& point = result->point;
  result->decode_bytes =
      decode_bytes_per_step(engine, result->counts, point.decode_tokens, point.prompt_tokens);
}

}  // namespace

double Latency::prefill_tokens_per_second() const {
  if (prefill_ms.empty()) return 0;
  return static_cast<double>(point.prompt_tokens) * 1000 / quantile(prefill_ms, 0.5);
}
double Latency::decode_tokens_per_second() const {
  return static_cast<double>(point.batch) * 1000 / quantile(decode_ms, 0.5);
}

double quantile(std::vector<double> values, double q) {
  CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(std::lround(q * static_cast<double>(values.size() - 1)))];
}

Result<Latency> measure_latency(Engine& engine, const LatencyPoint& point, OpTimes* op_times) {
  const auto prompt = random_prompt(point.prompt_tokens, engine.config().vocab_size, point.seed);
  Latency result;
  result.point = point;
  if (point.random_cache || point.batch > 1) {
    RETURN_IF_ERROR(run_on_random_cache(engine, point, op_times, &result));
    count_decode(engine, &result);
    if (!point.prefill || point.batch > 1) return result;
  }
  const int64_t decode_tokens = result.decode_ms.empty() ? point.decode_tokens : 0;
  const auto beginning =
      std::span(prompt).first(static_cast<size_t>(std::min(point.prompt_tokens, engine.chunk())));
  Latency warmup;
  RETURN_IF_ERROR(
      run_once(engine, beginning, std::min<int64_t>(decode_tokens, 2), op_times, &warmup));
  const int64_t repetitions = point.prompt_tokens >= kLongPrompt
                                  ? std::min<int64_t>(point.repetitions, 2)
                                  : point.repetitions;
  for (int64_t r = 0; r < repetitions; ++r) {
    engine.reset_counts();
    RETURN_IF_ERROR(run_once(engine, prompt, decode_tokens, op_times, &result));
    if (decode_tokens > 0) result.counts = engine.counts();
  }
  if (!is_row_quantised(engine.weights().layers.front().q.weight.format)) {
    result.prefill_operations = prefill_operations(engine, engine.counts(), point.prompt_tokens);
  }
  if (decode_tokens > 0) count_decode(engine, &result);
  return result;
}

}  // namespace lserve
