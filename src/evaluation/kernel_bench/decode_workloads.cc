// decode_attention over random sequences, with the work lists that attention/ plans for it.
#include <memory>
#include <utility>

#include "attention/decode_plan.h"
#include "base/checked_math.h"
#include "base/strings.h"
#include "evaluation/kernel_bench/attention_data.h"

namespace lserve {

namespace {

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

// Bytes of keys and values on the lists, whole pages: read once for the query heads that share a
// list, as decode_attention does, and once for each of them, as kernels do that work by query head.
std::vector<KernelCount> count_reads(const DecodePlan& plan, double token_bytes) {
  double once = 0;
  double by_query_head = 0;
  for (const DecodeWork& work : plan.work) {
    const double bytes = static_cast<double>(work.num_spans) * kPageSize * token_bytes;
    once += bytes;
    by_query_head += bytes * work.num_q_heads;
  }
  return {{"kv_bytes_read", once}, {"kv_bytes_by_query_head", by_query_head}};
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
  RETURN_IF_ERROR(place(data.get(), c, one_token_each(c), selections));
  DecodePlan plan;
  plan_decode(data->view, data->kv.pattern, 0, attention,
              static_cast<int32_t>(c.shape.gqa_group_size()), &plan);
  ASSIGN_OR_RETURN(const auto work, data->memory.list(plan.work));
  ASSIGN_OR_RETURN(const auto spans, data->memory.list(plan.spans));
  RETURN_IF_ERROR(backend.reserve(kernel.limits));
  RETURN_IF_ERROR(select(data.get(), c, plan, c.settings.batch * sequence_rows, spans));
  kernel.counts = count_reads(plan, token_bytes(c));
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

}  // namespace

KernelWorkloads decode_attention_workloads(const ShapedCase& c) {
  const AttentionConfig& attention = c.settings.attention;
  const std::string budget =
      has_page_selection(attention.mode) ? cat(", budget ", attention.token_budget) : std::string();
  return {{.op = "decode_attention",
           .what = cat(describe_attention(c), ", batch ", c.settings.batch, budget),
           .vendor = vendor_problem(c, c.settings.batch, 1),
           .prepare = [c](Backend& backend) { return prepare_decode(backend, c); }}};
}

}  // namespace lserve
