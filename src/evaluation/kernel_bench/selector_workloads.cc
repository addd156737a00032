// The page selector over random sequences: page_scores, select_pages, and select_spans, which is
// what a layer calls that selects anew. For the retrieval heads of the mode: all where none
// streams.
#include <memory>
#include <numeric>

#include "base/checked_math.h"
#include "base/strings.h"
#include "evaluation/kernel_bench/attention_data.h"

namespace lserve {

namespace {

constexpr double kFloat = sizeof(float);

// With pages to select, whatever the mode says of that.
ShapedCase selecting(const ShapedCase& c) {
  ShapedCase selecting = c;
  selecting.settings.attention.mode = selector_mode(c.settings.attention.mode);
  return selecting;
}

int64_t num_lists(const ShapedCase& c) {
  return c.settings.batch * static_cast<int64_t>(count_heads(c).retrieval);
}

// "4 heads, context 8192, batch 1"; without the heads where they are all.
std::string describe_lists(const ShapedCase& c) {
  const int64_t heads = num_lists(c) / c.settings.batch;
  const bool all = !has_streaming_heads(c.settings.attention.mode);
  return cat(all ? "" : cat(heads, heads == 1 ? " head, " : " heads, "), "context ",
             c.settings.context, ", batch ", c.settings.batch);
}

std::vector<PageScoreWork> score_work(const AttentionData& data, const ShapedCase& c) {
  const auto group = static_cast<int32_t>(c.shape.gqa_group_size());
  const auto heads = data.kv.pattern.heads(0, HeadClass::kRetrieval);
  std::vector<PageScoreWork> list;
  for (int32_t i = 0; i < c.settings.batch; ++i) {
    const auto& sequence = data.view.sequences[static_cast<size_t>(i)];
    for (size_t rank = 0; rank < heads.size(); ++rank) {
      list.push_back({.seq_idx = i,
                      .head = static_cast<int32_t>(rank),
                      .first_q_head = heads[rank] * group,
                      .num_q_heads = group,
                      .page_table = sequence.page_table[index_of(HeadClass::kRetrieval)],
                      .kv_len = sequence.kv_len()});
    }
  }
  return list;
}

Result<PreparedKernel> prepare_scores(Backend& backend, const ShapedCase& c) {
  const AttentionConfig& attention = c.settings.attention;
  const int64_t items = num_lists(c);
  const int64_t num_pages = ceil_div<int64_t>(c.settings.context, kPageSize);
  const auto logical = static_cast<double>(
      items * ceil_div<int64_t>(c.settings.context, attention.logical_page_size));
  const auto dim = static_cast<double>(c.shape.head_dim);
  const auto group = static_cast<int32_t>(c.shape.gqa_group_size());
  const bool bounds = attention.page_score == PageScore::kMinMax;
  const bool codes = attention.key_stats == KeyStatsFormat::kInt8;
  const double of_page =
      codes ? 2 * dim + dim / kBoundsChannels : sizeof(bf16) * (bounds ? 2 * dim : dim + 1);
  const double stats = logical * of_page;
  const double q_bytes = static_cast<double>(items * group) * dim * kFloat;
  const double activations = activation_bytes(c, static_cast<double>(c.settings.batch));
  PreparedKernel kernel;
  kernel.bytes = stats + q_bytes + static_cast<double>(items * num_pages) * kFloat;
  // A product and a sum for each statistic and query head.
  kernel.operations = logical * group * (bounds ? 4 * dim : 2 * dim + 2);
  auto data = std::make_shared<AttentionData>(backend, c);
  const KvNeeds needs{.key_stats = true, .other_bytes = 2 * kernel.bytes + activations};
  ASSIGN_OR_RETURN(data->kv, make_kv_sequences(&data->memory, c, needs, stats));
  RETURN_IF_ERROR(place(data.get(), c, one_token_each(c), {}));
  ASSIGN_OR_RETURN(const auto work, data->memory.list(score_work(*data, c)));
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

// Scores of as many copies as are needed, and room for one selection.
struct SelectData {
  BenchMemory memory;
  float* scores = nullptr;            // [copies][items, pages]
  std::span<int32_t> num_pages;       // [items]
  std::span<int32_t> rows;            // [items]
  std::span<int32_t> selected;        // [items, budget]
  std::span<int32_t> page_ids;        // [batch, pages]
  std::span<GatherSpansWork> gather;  // [items]
  std::span<PageSpan> spans;          // [items, budget]

  SelectData(Backend& backend, uint64_t seed) : memory(backend, seed) {}
};

Status fill(SelectData* data, const ShapedCase& c, int64_t copies) {
  const int64_t items = num_lists(c);
  const int64_t pages = ceil_div<int64_t>(c.settings.context, kPageSize);
  const int32_t budget = c.settings.attention.budget_pages();
  const int64_t heads = items / c.settings.batch;
  std::vector<int32_t> rows;
  std::vector<GatherSpansWork> gather;
  for (int32_t i = 0; i < items; ++i) {
    rows.push_back(i);
    gather.push_back({.row = i,
                      .page_table = static_cast<int32_t>(i / heads * pages),
                      .kv_len = static_cast<int32_t>(c.settings.context),
                      .selected_pages = static_cast<int32_t>(pages),
                      .first_span = i * budget});
  }
  const std::vector<int32_t> all_pages(static_cast<size_t>(items), static_cast<int32_t>(pages));
  std::vector<int32_t> page_ids(static_cast<size_t>(c.settings.batch * pages));
  std::iota(page_ids.begin(), page_ids.end(), 0);
  const std::vector<int32_t> room(static_cast<size_t>(items * budget));
  BenchMemory& memory = data->memory;
  ASSIGN_OR_RETURN(data->scores, memory.random(copies * items * pages));
  ASSIGN_OR_RETURN(data->num_pages, memory.list(all_pages));
  ASSIGN_OR_RETURN(data->rows, memory.list(rows));
  ASSIGN_OR_RETURN(data->selected, memory.list(room));
  ASSIGN_OR_RETURN(data->page_ids, memory.list(page_ids));
  ASSIGN_OR_RETURN(data->gather, memory.list(gather));
  ASSIGN_OR_RETURN(data->spans, memory.list(std::vector<PageSpan>(room.size())));
  return {};
}

// With `spans`, the whole of select_spans.
Result<PreparedKernel> prepare_select(Backend& backend, const ShapedCase& c, bool spans) {
  const int64_t items = num_lists(c);
  const int64_t pages = ceil_div<int64_t>(c.settings.context, kPageSize);
  const int32_t budget = c.settings.attention.budget_pages();
  PreparedKernel kernel;
  const double scores_bytes = static_cast<double>(items * pages) * kFloat;
  // The page_idx of what is selected; and its page_id, read, and its span.
  const double each = sizeof(int32_t) + (spans ? sizeof(int32_t) + sizeof(PageSpan) : 0.0);
  kernel.bytes = scores_bytes + static_cast<double>(items * budget) * each;
  kernel.operations = static_cast<double>(items * pages);  // a comparison each
  ASSIGN_OR_RETURN(kernel.copies, plan_copies(backend, {scores_bytes, scores_bytes},
                                              2 * kernel.bytes, c.settings.rotated_bytes));
  auto data = std::make_shared<SelectData>(backend, c.settings.seed);
  RETURN_IF_ERROR(fill(data.get(), c, kernel.copies));
  RETURN_IF_ERROR(backend.reserve(kernel.limits));
  kernel.run = [=, &backend, d = data.get(),
                sinks = c.settings.attention.num_sink_pages()](int64_t copy) {
    const SelectPagesParams select{
        .scores = TensorView(d->scores + copy * items * pages, {items, pages}),
        .num_pages = d->num_pages,
        .rows = d->rows,
        .budget = budget,
        .num_sink_pages = sinks,
        .selected = TensorView(d->selected.data(), {items, budget})};
    if (!spans) return backend.select_pages(select);
    backend.select_spans(
        {.select = select, .page_ids = d->page_ids, .gather = d->gather, .spans = d->spans});
  };
  kernel.memory = std::move(data);
  return kernel;
}

KernelWorkloads select_workloads(const ShapedCase& c, bool spans) {
  const ShapedCase all = selecting(c);
  return {
      {.op = c.settings.op,
       .what = cat("budget ", c.settings.attention.token_budget, ", ", describe_lists(all)),
       .vendor = {},
       .prepare = [all, spans](Backend& backend) { return prepare_select(backend, all, spans); }}};
}

}  // namespace

KernelWorkloads page_scores_workloads(const ShapedCase& c) {
  const ShapedCase all = selecting(c);
  return {{.op = "page_scores",
           .what = cat(page_score_name(c.settings.attention.page_score),
                       c.settings.attention.key_stats == KeyStatsFormat::kInt8 ? " int8, " : ", ",
                       describe_lists(all)),
           .vendor = {},
           .prepare = [all](Backend& backend) { return prepare_scores(backend, all); }}};
}
KernelWorkloads select_pages_workloads(const ShapedCase& c) { return select_workloads(c, false); }
KernelWorkloads select_spans_workloads(const ShapedCase& c) { return select_workloads(c, true); }

}  // namespace lserve
