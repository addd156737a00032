// Attention over random sequences: prefill_attention, decode_attention and page_scores, with the
// work lists that attention/ plans for them.
#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "attention/decode_plan.h"
#include "attention/page_selection.h"
#include "attention/prefill_plan.h"
#include "base/checked_math.h"
#include "base/strings.h"
#include "evaluation/kernel_bench/kv_sequences.h"

namespace lserve {

namespace {

constexpr double kFloat = sizeof(float);

struct AttentionData {
  BenchMemory memory;
  KvSequences kv;
  BatchView view;
  TensorView q, out;
  std::array<std::span<const int32_t>, kNumHeadClasses> page_tables;

  AttentionData(Backend& backend, const ShapedCase& c)
      : memory(backend, c.settings.seed),
        kv{HeadPattern::uniform(1, 1, HeadClass::kRetrieval), nullptr, {}} {}
};

float softmax_scale(const ShapedCase& c) {
  return 1.0F / std::sqrt(static_cast<float>(c.shape.head_dim));
}

// Of one key and one value of a head, as they are stored.
double token_bytes(const ShapedCase& c) {
  const KvFormat format = c.settings.kv_format;
  const int64_t scale = has_scales(format) ? int64_t{sizeof(KvScale)} : 0;
  return 2.0 * static_cast<double>(kv_vector_bytes(format, c.shape.head_dim) + scale);
}

// q and out of all heads.
double activation_bytes(const ShapedCase& c, double rows) {
  return 2 * rows * static_cast<double>(c.q_width()) * kFloat;
}

std::string describe_case(const ShapedCase& c) {
  return cat(attention_mode_name(c.settings.attention.mode), ", ",
             kv_format_name(c.settings.kv_format), ", context ", c.settings.context);
}

std::string describe_skipped(const KernelCase& c) {
  if (c.skip_percent == 0) return "";
  return cat(", ", c.skip_percent, "% of blocks skipped, ",
             c.block_lists == BlockLists::kRandom ? "random" : "vertical-slash");
}

// What the model's heads of a layer have to do.
struct HeadCount {
  double retrieval = 0;
  double streaming = 0;
};
HeadCount count_heads(const ShapedCase& c) {
  const HeadPattern pattern = pattern_of(c);
  const auto streaming = static_cast<double>(pattern.num_streaming());
  return {static_cast<double>(c.shape.num_kv_heads) - streaming, streaming};
}

// Places q and out of `rows` rows and the page tables of the sequences' last `q_len` tokens.
Status place(AttentionData* data, const ShapedCase& c, int64_t rows, int32_t q_len,
             std::span<PageSelection> selections) {
  const Shape shape({rows, c.shape.num_q_heads, c.shape.head_dim});
  ASSIGN_OR_RETURN(float* q, data->memory.random(rows * c.q_width()));
  ASSIGN_OR_RETURN(float* out, data->memory.zeros(rows * c.q_width()));
  data->q = TensorView(q, shape);
  data->out = TensorView(out, shape);
  for (size_t i = 0; i < data->kv.sequences.size(); ++i) {
    data->view.add(*data->kv.sequences[i], q_len, selections.empty() ? nullptr : &selections[i]);
  }
  for (size_t of = 0; of < data->page_tables.size(); ++of) {
    ASSIGN_OR_RETURN(data->page_tables[of], data->memory.list(data->view.page_ids[of]));
  }
  return {};
}

// Keys that the positions [first, last] see, each once, and (query, key) pairs.
struct Visible {
  double keys = 0;
  double pairs = 0;
};
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

Result<PreparedKernel> prepare_prefill(Backend& backend, const ShapedCase& c) {
  const int64_t first = c.settings.context - c.tokens;
  const HeadCount heads = count_heads(c);
  const Visible dense = visible_from(first, c.settings.context - 1, {});
  const Visible window =
      visible_from(first, c.settings.context - 1, c.settings.attention.prefill_window());
  const auto group = static_cast<double>(c.shape.gqa_group_size());
  const auto dim = static_cast<double>(c.shape.head_dim);
  PreparedKernel kernel;
  const double activations = activation_bytes(c, static_cast<double>(c.tokens));
  const double keys =
      (heads.retrieval * dense.keys + heads.streaming * window.keys) * token_bytes(c);
  kernel.bytes = activations + keys;
  // q k and p v: a product and a sum each.
  kernel.operations =
      4 * dim * group * (heads.retrieval * dense.pairs + heads.streaming * window.pairs);
  kernel.limits.num_tokens = c.tokens;
  kernel.limits.head_dim = c.shape.head_dim;
  kernel.limits.num_pages = ceil_div<int64_t>(c.settings.context, kPageSize);
  kernel.limits.num_kv_heads = c.shape.num_kv_heads;
  kernel.limits.kv_format = c.settings.kv_format;
  auto data = std::make_shared<AttentionData>(backend, c);
  const KvNeeds needs{
      .all_tokens = true,
      .other_bytes = activations + static_cast<double>(backend.scratch_bytes(kernel.limits))};
  ASSIGN_OR_RETURN(data->kv, make_kv_sequences(&data->memory, c, needs, keys));
  RETURN_IF_ERROR(place(data.get(), c, c.tokens, static_cast<int32_t>(c.tokens), {}));
  PrefillPlan plan;
  plan_prefill(data->view, data->kv.pattern, 0, c.settings.attention, &plan);
  if (c.settings.skip_percent > 0) {
    const double pairs =
        skip_blocks(c.settings.skip_percent, c.settings.block_lists, c.settings.seed, &plan);
    kernel.operations = 4 * dim * group * (pairs + heads.streaming * window.pairs);
  }
  ASSIGN_OR_RETURN(const auto work, data->memory.list(plan.work));
  ASSIGN_OR_RETURN(const auto ranges, data->memory.list(plan.ranges));
  kernel.copies = data->kv.copies();
  RETURN_IF_ERROR(backend.reserve(kernel.limits));
  kernel.run = [&backend, d = data.get(), work, ranges, scale = softmax_scale(c),
                size = static_cast<int32_t>(c.shape.gqa_group_size())](int64_t copy) {
    const auto pools = d->kv.cache->views(copy);
    backend.prefill_attention({.q = d->q,
                               .out = d->out,
                               .pools = pools,
                               .page_tables = d->page_tables,
                               .work = work,
                               .ranges = ranges,
                               .gqa_group_size = size,
                               .softmax_scale = scale});
  };
  kernel.memory = std::move(data);
  return kernel;
}

// Tokens that a decode step reads of a retrieval head, and of a streaming one.
double tokens_of_budget(const ShapedCase& c) {
  const int64_t context = c.settings.context;
  const int64_t pages = ceil_div<int64_t>(context, kPageSize);
  const int64_t budget = c.settings.attention.budget_pages();
  if (!has_page_selection(c.settings.attention.mode) || pages <= budget) {
    return static_cast<double>(context);
  }
  // The last page, which may be in part empty, is always among them.
  return static_cast<double>(budget * kPageSize - (pages * kPageSize - context));
}

// Selects pages of layer 0 by its own keys: what every layer then reads, each in its own memory.
Status select(AttentionData* data, const ShapedCase& c, const DecodePlan& plan, int64_t rows,
              std::span<PageSpan> spans) {
  if (plan.gather.empty()) return {};
  const auto items = static_cast<int64_t>(plan.score.size());
  const int64_t max_pages = ceil_div<int64_t>(c.settings.context, kPageSize);
  const int32_t budget = c.settings.attention.budget_pages();
  BenchMemory& memory = data->memory;
  Backend& backend = memory.backend();
  ASSIGN_OR_RETURN(const auto work, memory.list(plan.score));
  ASSIGN_OR_RETURN(const auto num_pages, memory.list(plan.select_num_pages));
  ASSIGN_OR_RETURN(const auto select_rows, memory.list(plan.select_rows));
  ASSIGN_OR_RETURN(const auto gather, memory.list(plan.gather));
  ASSIGN_OR_RETURN(float* scores_data, memory.zeros(items * max_pages));
  const TensorView scores(scores_data, {items, max_pages});
  ASSIGN_OR_RETURN(const auto room,
                   memory.list(std::vector<int32_t>(static_cast<size_t>(rows * budget))));
  const TensorView selected(room.data(), {rows, budget});
  const auto& page_ids = data->page_tables[index_of(HeadClass::kRetrieval)];
  const DecodePlan::Bounds bounds = plan.bounds();
  backend.page_scores({.q = data->q,
                       .kv = data->kv.cache->view(0, HeadClass::kRetrieval),
                       .page_ids = page_ids,
                       .work = work,
                       .mean = c.settings.attention.selector_group == SelectorGroup::kMean,
                       .scores = scores,
                       .max_num_pages = bounds.max_num_pages,
                       .max_q_heads = bounds.max_q_heads});
  backend.select_pages({.scores = scores,
                        .num_pages = num_pages,
                        .rows = select_rows,
                        .budget = budget,
                        .num_sink_pages = c.settings.attention.num_sink_pages(),
                        .selected = selected});
  backend.gather_spans({selected, page_ids, gather, spans});
  backend.synchronize();
  return {};
}

Result<PreparedKernel> prepare_decode(Backend& backend, const ShapedCase& c) {
  const AttentionConfig& attention = c.settings.attention;
  const auto batch = static_cast<double>(c.settings.batch);
  const HeadCount heads = count_heads(c);
  const Visible window =
      visible_from(c.settings.context - 1, c.settings.context - 1, attention.decode_window());
  const double tokens =
      batch * (heads.retrieval * tokens_of_budget(c) + heads.streaming * window.keys);
  const double activations = activation_bytes(c, batch);
  PreparedKernel kernel;
  kernel.bytes = activations + tokens * token_bytes(c);
  kernel.operations = 4 * static_cast<double>(c.shape.head_dim * c.shape.gqa_group_size()) * tokens;
  kernel.limits.num_q_heads = c.settings.batch * c.shape.num_q_heads;
  kernel.limits.num_spans = DecodePlan::bound_of(
      static_cast<int32_t>(ceil_div<int64_t>(c.settings.context, kPageSize) + 1));
  kernel.limits.head_dim = c.shape.head_dim;
  auto data = std::make_shared<AttentionData>(backend, c);
  const bool selects = has_page_selection(attention.mode);
  const KvNeeds needs{
      .key_stats = selects,
      .other_bytes = 4 * activations + static_cast<double>(backend.scratch_bytes(kernel.limits))};
  ASSIGN_OR_RETURN(data->kv, make_kv_sequences(&data->memory, c, needs, tokens * token_bytes(c)));
  const int32_t lists = attention.lists_per_kv_head(static_cast<int32_t>(c.shape.gqa_group_size()));
  const int32_t sequence_rows = PageSelection::num_rows(data->kv.pattern, lists);
  std::vector<PageSelection> selections;
  for (int32_t i = 0; selects && i < c.settings.batch; ++i) {
    selections.emplace_back(data->kv.pattern, i * sequence_rows, lists);
  }
  RETURN_IF_ERROR(place(data.get(), c, c.settings.batch, 1, selections));
  DecodePlan plan;
  plan_decode(data->view, data->kv.pattern, 0, attention,
              static_cast<int32_t>(c.shape.gqa_group_size()), &plan);
  ASSIGN_OR_RETURN(const auto work, data->memory.list(plan.work));
  ASSIGN_OR_RETURN(const auto spans, data->memory.list(plan.spans));
  RETURN_IF_ERROR(backend.reserve(kernel.limits));
  RETURN_IF_ERROR(select(data.get(), c, plan, c.settings.batch * sequence_rows, spans));
  kernel.copies = data->kv.copies();
  kernel.run = [&backend, d = data.get(), work, spans, scale = softmax_scale(c),
                bounds = plan.bounds()](int64_t copy) {
    const auto pools = d->kv.cache->views(copy);
    backend.decode_attention({.q = d->q,
                              .out = d->out,
                              .pools = pools,
                              .work = work,
                              .spans = spans,
                              .softmax_scale = scale,
                              .max_spans = bounds.max_spans,
                              .max_q_heads = bounds.max_q_heads});
  };
  kernel.memory = std::move(data);
  return kernel;
}

// All KV heads of the layer, as where none streams.
Result<PreparedKernel> prepare_scores(Backend& backend, const ShapedCase& c) {
  const AttentionConfig& attention = c.settings.attention;
  const int64_t items = c.settings.batch * c.shape.num_kv_heads;
  const int64_t num_pages = ceil_div<int64_t>(c.settings.context, kPageSize);
  const auto logical = static_cast<double>(
      items * ceil_div<int64_t>(c.settings.context, attention.logical_page_size));
  const auto dim = static_cast<double>(c.shape.head_dim);
  const auto group = static_cast<int32_t>(c.shape.gqa_group_size());
  const bool bounds = attention.page_score == PageScore::kMinMax;
  const double stats = logical * sizeof(bf16) * (bounds ? 2 * dim : dim + 1);
  const double q_bytes =
      static_cast<double>(c.settings.batch) * static_cast<double>(c.q_width()) * kFloat;
  PreparedKernel kernel;
  kernel.bytes = stats + q_bytes + static_cast<double>(items * num_pages) * kFloat;
  // A product and a sum for each statistic and query head.
  kernel.operations = logical * group * (bounds ? 4 * dim : 2 * dim + 2);
  auto data = std::make_shared<AttentionData>(backend, c);
  ASSIGN_OR_RETURN(data->kv,
                   make_kv_sequences(&data->memory, c,
                                     {.key_stats = true, .other_bytes = 2 * kernel.bytes}, stats));
  RETURN_IF_ERROR(place(data.get(), c, c.settings.batch, 1, {}));
  std::vector<PageScoreWork> list;
  for (int32_t i = 0; i < c.settings.batch; ++i) {
    const auto& sequence = data->view.sequences[static_cast<size_t>(i)];
    for (int32_t head = 0; head < c.shape.num_kv_heads; ++head) {
      list.push_back({.seq_idx = i,
                      .head = head,
                      .first_q_head = head * group,
                      .num_q_heads = group,
                      .page_table = sequence.page_table[index_of(HeadClass::kRetrieval)],
                      .kv_len = sequence.kv_len()});
    }
  }
  ASSIGN_OR_RETURN(const auto work, data->memory.list(list));
  ASSIGN_OR_RETURN(float* scores, data->memory.zeros(items * num_pages));
  RETURN_IF_ERROR(backend.reserve(kernel.limits));
  kernel.copies = data->kv.copies();
  kernel.run = [&backend, d = data.get(), work, group, out = TensorView(scores, {items, num_pages}),
                mean = attention.selector_group == SelectorGroup::kMean](int64_t copy) {
    backend.page_scores({.q = d->q,
                         .kv = d->kv.cache->view(copy, HeadClass::kRetrieval),
                         .page_ids = d->page_tables[index_of(HeadClass::kRetrieval)],
                         .work = work,
                         .mean = mean,
                         .scores = out,
                         .max_num_pages = static_cast<int32_t>(out.dim(1)),
                         .max_q_heads = group});
  };
  kernel.memory = std::move(data);
  return kernel;
}

AttentionProblem vendor_problem(const ShapedCase& c, int64_t batch, int64_t q_len) {
  return {.batch = batch,
          .q_len = q_len,
          .kv_len = c.settings.context,
          .num_q_heads = c.shape.num_q_heads,
          .num_kv_heads = c.shape.num_kv_heads,
          .head_dim = c.shape.head_dim};
}

}  // namespace

// One sequence: a chunk of a prompt.
KernelWorkloads prefill_attention_workloads(const ShapedCase& c) {
  ShapedCase single = c;
  single.settings.batch = 1;
  return {{.op = "prefill_attention",
           .what = cat(describe_case(c), ", ", rows_text(c.tokens), describe_skipped(c.settings)),
           .vendor = vendor_problem(c, 1, c.tokens),
           .prepare = [single](Backend& backend) { return prepare_prefill(backend, single); }}};
}

KernelWorkloads decode_attention_workloads(const ShapedCase& c) {
  const AttentionConfig& attention = c.settings.attention;
  const std::string budget =
      has_page_selection(attention.mode) ? cat(", budget ", attention.token_budget) : std::string();
  return {{.op = "decode_attention",
           .what = cat(describe_case(c), ", batch ", c.settings.batch, budget),
           .vendor = vendor_problem(c, c.settings.batch, 1),
           .prepare = [c](Backend& backend) { return prepare_decode(backend, c); }}};
}

KernelWorkloads page_scores_workloads(const ShapedCase& c) {
  ShapedCase all = c;
  all.settings.attention.mode = AttentionMode::kPages;
  return {{.op = "page_scores",
           .what = cat(page_score_name(c.settings.attention.page_score), ", context ",
                       c.settings.context, ", batch ", c.settings.batch),
           .vendor = {},
           .prepare = [all](Backend& backend) { return prepare_scores(backend, all); }}};
}

}  // namespace lserve
