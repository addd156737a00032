#include "evaluation/kernel_bench/attention_data.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"
#include "base/strings.h"

namespace lserve {

namespace {

constexpr double kFloat = sizeof(float);

std::string describe_window(const AttentionConfig& config) {
  const TokenWindow usual = AttentionConfig().decode_window();
  const TokenWindow window = config.decode_window();
  if (!has_streaming_heads(config.mode)) return "";
  return cat(window.sink_tokens == usual.sink_tokens ? "" : cat(", sink ", window.sink_tokens),
             window.local_tokens == usual.local_tokens ? "" : cat(", local ", window.local_tokens));
}

}  // namespace

AttentionData::AttentionData(Backend& backend, const ShapedCase& c)
    : memory(backend, c.settings.seed),
      kv{HeadPattern::uniform(1, 1, HeadClass::kRetrieval), nullptr, {}} {}

Status place(AttentionData* data, const ShapedCase& c, std::span<const int32_t> q_lens,
             std::span<PageSelection> selections) {
  CHECK_EQ(q_lens.size(), data->kv.sequences.size());
  const int64_t rows = std::accumulate(q_lens.begin(), q_lens.end(), int64_t{0});
  const Shape shape({rows, c.shape.num_q_heads, c.shape.head_dim});
  ASSIGN_OR_RETURN(float* q, data->memory.random(rows * c.q_width()));
  ASSIGN_OR_RETURN(float* out, data->memory.zeros(rows * c.q_width()));
  data->q = TensorView(q, shape);
  data->out = TensorView(out, shape);
  for (size_t i = 0; i < q_lens.size(); ++i) {
    data->view.add(*data->kv.sequences[i], q_lens[i],
                   selections.empty() ? nullptr : &selections[i]);
  }
  for (size_t of = 0; of < data->page_tables.size(); ++of) {
    ASSIGN_OR_RETURN(data->page_tables[of], data->memory.list(data->view.page_ids[of]));
  }
  return {};
}

float softmax_scale(const ShapedCase& c) {
  return 1.0F / std::sqrt(static_cast<float>(c.shape.head_dim));
}

double token_bytes(const ShapedCase& c) {
  const KvFormat format = c.settings.kv_format;
  const int64_t scale = has_scales(format) ? int64_t{sizeof(KvScale)} : 0;
  return 2.0 * static_cast<double>(kv_vector_bytes(format, c.shape.head_dim) + scale);
}

double activation_bytes(const ShapedCase& c, double rows) {
  return 2 * rows * static_cast<double>(c.q_width()) * kFloat;
}

HeadCount count_heads(const ShapedCase& c) {
  const HeadPattern pattern = pattern_of(c);
  const auto streaming = static_cast<double>(pattern.num_streaming());
  return {static_cast<double>(c.shape.num_kv_heads) - streaming, streaming};
}

Visible visible_from(int64_t first, int64_t last, const TokenWindow& window) {
  const int64_t reach = int64_t{window.sink_tokens} + window.local_tokens;
  const auto sum_to = [](int64_t n) {
    return 0.5 * static_cast<double>(n) * static_cast<double>(n + 1);
  };
  // Position p sees min(p + 1, reach) keys.
  const int64_t growing = std::clamp<int64_t>(reach - 1, first - 1, last);
  Visible visible;
  visible.pairs = sum_to(growing + 1) - sum_to(first) +
                  static_cast<double>(last - growing) * static_cast<double>(reach);
  const int64_t window_begin = std::max<int64_t>(0, first + 1 - window.local_tokens);
  const int64_t sink_end = std::min<int64_t>(window.sink_tokens, last + 1);
  visible.keys = static_cast<double>(last + 1 - std::max<int64_t>(0, window_begin - sink_end));
  return visible;
}

std::string describe_attention(const ShapedCase& c) {
  return cat(attention_mode_name(c.settings.attention.mode), describe_window(c.settings.attention),
             ", ", kv_format_name(c.settings.kv_format), ", context ", c.settings.context);
}

AttentionProblem vendor_problem(const ShapedCase& c, int64_t batch, int64_t q_len) {
  return {.batch = batch,
          .q_len = q_len,
          .kv_len = c.settings.context,
          .num_q_heads = c.shape.num_q_heads,
          .num_kv_heads = c.shape.num_kv_heads,
          .head_dim = c.shape.head_dim};
}

}  // namespace lserve
