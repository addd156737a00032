#include "evaluation/perplexity.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/strings.h"

namespace lserve {

namespace {

// -sum of ln p(targets[i]) by row first + i of the last step.
Result<double> rows_nll(Engine& engine, int64_t first, std::span<const int32_t> targets) {
  double nll = 0;
  std::vector<double> log_probs(targets.size());
  for (size_t done = 0; done < targets.size();) {
    const size_t count =
        std::min(targets.size() - done, static_cast<size_t>(engine.max_logit_rows()));
    const TensorView logits =
        engine.logits(first + static_cast<int64_t>(done), static_cast<int64_t>(count));
    engine.backend().log_probs(
        {logits, targets.subspan(done, count), std::span(log_probs).subspan(done, count)});
    engine.backend().synchronize();
    done += count;
  }
  for (const double log_prob : log_probs) nll -= log_prob;
  if (!std::isfinite(nll)) return runtime_error("the logits are not finite: damaged weights?");
  return nll;
}

Status check(const Engine& engine, int64_t n, int64_t decode_tokens) {
  if (n < 2) return usage_error(cat("perplexity needs at least 2 tokens, the text has ", n));
  if (n > engine.context()) {
    return usage_error(cat("the text has ", with_separators(n), " tokens, the context holds ",
                           with_separators(engine.context())));
  }
  if (decode_tokens < 0 || decode_tokens >= n) {
    return usage_error(cat("--decode-tokens ", decode_tokens, " must be less than the ", n,
                           " tokens of the text"));
  }
  return {};
}

}  // namespace

double Perplexity::perplexity() const { return std::exp(nll / static_cast<double>(tokens - 1)); }

Result<Perplexity> measure_perplexity(Engine& engine, std::span<const int32_t> tokens,
                                      int64_t decode_tokens,
                                      const std::function<void(int64_t done)>& progress) {
  const auto n = static_cast<int64_t>(tokens.size());
  RETURN_IF_ERROR(check(engine, n, decode_tokens));
  Perplexity result{.tokens = n, .nll = 0, .decode_tokens = decode_tokens, .decode_nll = 0};
  Sequence sequence = engine.new_sequence();
  const int64_t prefilled = n - decode_tokens;

  const auto after_chunk = [&](int64_t first, int64_t count) -> Status {
    // Row i predicts token i + 1; the last row's target belongs to the decode part, or is none.
    const int64_t targets = std::min(count, prefilled - 1 - first);
    if (targets > 0) {
      ASSIGN_OR_RETURN(const double nll, rows_nll(engine, 0,
                                                  tokens.subspan(static_cast<size_t>(first + 1),
                                                                 static_cast<size_t>(targets))));
      result.nll += nll;
    }
    if (progress) progress(first + count);
    return {};
  };
  RETURN_IF_ERROR(engine.prefill_chunks(sequence, tokens.subspan(0, static_cast<size_t>(prefilled)),
                                        after_chunk));
  for (int64_t i = prefilled; i < n; ++i) {
    const std::span<const int32_t> target = tokens.subspan(static_cast<size_t>(i), 1);
    ASSIGN_OR_RETURN(const double nll, rows_nll(engine, engine.last_step_tokens() - 1, target));
    result.decode_nll += nll;
    if (i + 1 < n) RETURN_IF_ERROR(engine.decode(sequence, target[0]));
    if (progress) progress(i + 1);
  }
  result.nll += result.decode_nll;
  return result;
}

}  // namespace lserve
