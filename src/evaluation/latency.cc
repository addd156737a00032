#include "evaluation/latency.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/random.h"

namespace lserve {

namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

std::vector<int32_t> random_prompt(int64_t count, int64_t vocab_size, uint64_t seed) {
  Random random(seed);
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (int32_t& token : tokens) token = static_cast<int32_t>(random.integer(0, vocab_size - 1));
  return tokens;
}

Status run_once(Engine& engine, std::span<const int32_t> prompt, int64_t decode_tokens,
                Latency* out) {
  Sequence sequence = engine.new_sequence();
  const auto start = Clock::now();
  RETURN_IF_ERROR(
      engine.prefill_chunks(sequence, prompt, [](int64_t, int64_t) { return Status(); }));
  ASSIGN_OR_RETURN(int32_t token, engine.draw({}, sequence.kv_len()));
  out->prefill_ms.push_back(ms_since(start));
  for (int64_t i = 0; i < decode_tokens; ++i) {
    const auto step = Clock::now();
    RETURN_IF_ERROR(engine.decode(sequence, token));
    ASSIGN_OR_RETURN(token, engine.draw({}, sequence.kv_len()));
    out->decode_ms.push_back(ms_since(step));
  }
  return {};
}

}  // namespace

double Latency::prefill_tokens_per_second() const {
  return static_cast<double>(prompt_tokens) * 1000 / quantile(prefill_ms, 0.5);
}
double Latency::decode_tokens_per_second() const { return 1000 / quantile(decode_ms, 0.5); }

double quantile(std::vector<double> values, double q) {
  CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(std::lround(q * static_cast<double>(values.size() - 1)))];
}

Result<Latency> measure_latency(Engine& engine, int64_t prompt_tokens, int64_t decode_tokens,
                                int64_t repetitions, uint64_t seed) {
  const auto prompt = random_prompt(prompt_tokens, engine.config().vocab_size, seed);
  Latency warmup;
  RETURN_IF_ERROR(run_once(
      engine,
      std::span(prompt).subspan(0, static_cast<size_t>(std::min(prompt_tokens, engine.chunk()))),
      std::min<int64_t>(decode_tokens, 2), &warmup));
  Latency result;
  result.prompt_tokens = prompt_tokens;
  for (int64_t r = 0; r < repetitions; ++r) {
    engine.reset_counts();
    RETURN_IF_ERROR(run_once(engine, prompt, decode_tokens, &result));
    result.counts = engine.counts();
  }
  return result;
}

}  // namespace lserve
