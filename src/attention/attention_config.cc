#include "attention/attention_config.h"

#include "base/strings.h"

namespace lserve {

namespace {

// Longer than any context, and far from the end of an int32.
constexpr int32_t kMaxTokens = 1 << 24;
// The selector always keeps the pages where the newest tokens are (kernels/select_pages.h).
constexpr int32_t kForcedTailPages = 2;
// A page that came after the selection is added to it, and the selection must be renewed before a
// second one can come. So a head reads at most budget + 1 pages, and no more is reserved for it.
constexpr int32_t kMaxReuseInterval = kPageSize;

Status check_range(const char* flag, int32_t value, int32_t low, int32_t high) {
  if (value >= low && value <= high) return {};
  return usage_error(
      cat(flag, " ", value, ": out of range; use a number from ", low, " to ", high));
}

Status check_budget(const AttentionConfig& config) {
  RETURN_IF_ERROR(check_range("--token-budget", config.token_budget, kPageSize, kMaxTokens));
  if (config.token_budget % kPageSize != 0) {
    return usage_error(cat("--token-budget ", config.token_budget, ": not a multiple of ",
                           kPageSize, " (a page); use ",
                           (config.token_budget / kPageSize + 1) * kPageSize));
  }
  // The sink pages and the last two are always read; one page at least must be left to choose.
  const int32_t least = config.num_sink_pages() + kForcedTailPages + 1;
  if (has_page_selection(config.mode) && config.budget_pages() < least) {
    return usage_error(cat("--token-budget ", config.token_budget, ": less than the ",
                           config.num_sink_pages(), " pages of --sink-tokens ", config.sink_tokens,
                           " and 3 more; use ", least * kPageSize, " or more"));
  }
  return {};
}

}  // namespace

const char* attention_mode_name(AttentionMode mode) {
  switch (mode) {
    case AttentionMode::kDense:
      return "dense";
    case AttentionMode::kStreaming:
      return "streaming";
    case AttentionMode::kPages:
      return "pages";
    case AttentionMode::kLServe:
      return "lserve";
  }
  return "unknown";
}

const char* selector_group_name(SelectorGroup group) {
  switch (group) {
    case SelectorGroup::kMax:
      return "max";
    case SelectorGroup::kMean:
      return "mean";
    case SelectorGroup::kPerQueryHead:
      return "per-query-head";
  }
  return "unknown";
}

const char* page_score_name(PageScore score) {
  return score == PageScore::kMeanStd ? "mean-std" : "minmax";
}

Status validate(const AttentionConfig& config) {
  RETURN_IF_ERROR(check_range("--sink-tokens", config.sink_tokens, 0, kMaxTokens));
  RETURN_IF_ERROR(check_range("--local-tokens", config.local_tokens, 1, kMaxTokens));
  RETURN_IF_ERROR(
      check_range("--prefill-local-tokens", config.prefill_local_tokens, 0, kMaxTokens));
  if (config.prefill_local_tokens != 0 && config.prefill_local_tokens < config.local_tokens) {
    return usage_error(cat("--prefill-local-tokens ", config.prefill_local_tokens,
                           ": narrower than --local-tokens ", config.local_tokens,
                           "; leave it out for the same window, or use more"));
  }
  const int32_t logical = config.logical_page_size;
  if (logical != 16 && logical != 32 && logical != 64) {
    return usage_error(cat("--logical-page-size ", logical,
                           ": does not divide a page into parts; use 16, 32 or 64"));
  }
  if (config.key_stats == KeyStatsFormat::kInt8 && config.page_score != PageScore::kMinMax) {
    return usage_error(cat("--key-stats-dtype int8: only bounds are kept in 8 bits, not those of ",
                           "--page-score ", page_score_name(config.page_score),
                           "; use minmax or leave it out"));
  }
  RETURN_IF_ERROR(check_range("--reuse-interval", config.reuse_interval, 1, kMaxReuseInterval));
  return check_budget(config);
}

}  // namespace lserve
