// prefill_attention over random sequences: a chunk of a prompt, dense, with streaming heads or with
// explicit lists of blocks; several prompts in one call; and what it costs to read a quantised
// cache.
#include <memory>
#include <utility>

#include "attention/prefill_plan.h"
#include "base/checked_math.h"
#include "base/strings.h"
#include "evaluation/kernel_bench/attention_data.h"

namespace lserve {

namespace {

std::string describe_skipped(const KernelCase& c) {
  if (!has_block_lists(c)) return "";
  return cat(", ", c.skip_percent, "% of blocks skipped, ", block_lists_name(c.block_lists));
}

std::string describe_beside(const std::vector<int64_t>& prompts) {
  if (prompts.empty()) return "";
  std::string text = ", beside prompts of";
  for (const int64_t tokens : prompts) text += cat(" ", tokens);
  return text;
}

// One sequence of the call: its last `tokens` of `context` tokens.
struct Part {
  int64_t context;
  int64_t tokens;
};
std::vector<Part> parts_of(const ShapedCase& c) {
  std::vector<Part> parts = {{c.settings.context, c.tokens}};
  for (const int64_t tokens : c.settings.beside) parts.push_back({tokens, tokens});
  return parts;
}

// Of all heads of a layer.
struct PrefillCost {
  double key_bytes = 0;        // of visible keys and values, each once
  double retrieval_pairs = 0;  // (query, key)
  double streaming_pairs = 0;
};
PrefillCost count_cost(const ShapedCase& c) {
  const HeadCount heads = count_heads(c);
  PrefillCost cost;
  for (const Part& part : parts_of(c)) {
    const int64_t first = part.context - part.tokens;
    const int64_t last = part.context - 1;
    const Visible dense = visible_from(first, last, {});
    const Visible window = visible_from(first, last, c.settings.attention.prefill_window());
    cost.key_bytes +=
        (heads.retrieval * dense.keys + heads.streaming * window.keys) * token_bytes(c);
    cost.retrieval_pairs += heads.retrieval * dense.pairs;
    cost.streaming_pairs += heads.streaming * window.pairs;
  }
  return cost;
}

ScratchLimits limits_of(const ShapedCase& c) {
  ScratchLimits limits;
  for (const Part& part : parts_of(c)) {
    limits.num_tokens += part.tokens;
    limits.num_pages += ceil_div<int64_t>(part.context, kPageSize);
  }
  limits.head_dim = c.shape.head_dim;
  limits.num_kv_heads = c.shape.num_kv_heads;
  limits.kv_format = c.settings.kv_format;
  return limits;
}

// Key blocks on the lists of the plan, and those that dense attention would visit.
std::vector<KernelCount> count_blocks(const PrefillPlan& plan) {
  double read = 0;
  for (const PrefillWork& item : plan.work) {
    for (int32_t i = 0; i < item.num_ranges; ++i) {
      const KeyBlockRange& range = plan.ranges[static_cast<size_t>(item.first_range + i)];
      read += range.end - range.begin;
    }
  }
  return {{"blocks_read", read}, {"blocks_of_dense", static_cast<double>(plan.blocks_held)}};
}

// Leaves one query block and the page that its rows lie in: what a call then takes is what it takes
// to make the pages readable.
void keep_one_page(PrefillPlan* plan) {
  PrefillWork& item = plan->work.front();
  plan->work.resize(1);
  const int32_t page = item.position / kPageSize;
  plan->ranges = {{page, page + 1}};
  item.first_range = 0;
  item.num_ranges = 1;
}

enum class Lists { kOfTheCase, kOnePage };

// (query, key) pairs of retrieval heads by its lists, where the case has some.
void make_plan(const AttentionData& data, const ShapedCase& c, Lists lists, PrefillPlan* plan,
               PrefillCost* cost) {
  plan_prefill(data.view, data.kv.pattern, 0, c.settings.attention, plan);
  if (lists == Lists::kOnePage) return keep_one_page(plan);
  if (!has_block_lists(c.settings)) return;
  cost->retrieval_pairs =
      skip_blocks(c.settings.skip_percent, c.settings.block_lists, c.settings.seed, plan);
}

Result<PreparedKernel> prepare_prefill(Backend& backend, const ShapedCase& c, Lists lists) {
  PreparedKernel kernel;
  kernel.limits = limits_of(c);
  PrefillCost cost = count_cost(c);
  const double activations = activation_bytes(c, static_cast<double>(kernel.limits.num_tokens));
  auto data = std::make_shared<AttentionData>(backend, c);
  const KvNeeds needs{
      .all_tokens = true,
      .other_bytes = activations + static_cast<double>(backend.scratch_bytes(kernel.limits))};
  ASSIGN_OR_RETURN(data->kv, make_kv_sequences(&data->memory, c, needs, cost.key_bytes));
  std::vector<int32_t> q_lens;
  for (const Part& part : parts_of(c)) q_lens.push_back(static_cast<int32_t>(part.tokens));
  RETURN_IF_ERROR(place(data.get(), c, q_lens, {}));
  PrefillPlan plan;
  make_plan(*data, c, lists, &plan, &cost);
  if (lists == Lists::kOfTheCase) {
    kernel.bytes = activations + cost.key_bytes;
    // q k and p v: a product and a sum each.
    kernel.operations = 4 * static_cast<double>(c.shape.head_dim * c.shape.gqa_group_size()) *
                        (cost.retrieval_pairs + cost.streaming_pairs);
    kernel.counts = count_blocks(plan);
  } else {
    // The codes, and the numbers of 16 bits that become of them.
    const double expanded = 2.0 * static_cast<double>(c.kv_width()) * sizeof(bf16);
    kernel.bytes = cost.key_bytes + expanded * static_cast<double>(c.settings.context);
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

KernelWorkload workload_of(const ShapedCase& c) {
  const bool alone = c.settings.beside.empty();
  return {
      .op = "prefill_attention",
      .what = cat(describe_attention(c), ", ", rows_text(c.tokens), describe_skipped(c.settings),
                  describe_beside(c.settings.beside)),
      .vendor = alone ? VendorProblem(vendor_problem(c, 1, c.tokens)) : VendorProblem(),
      .prepare = [c](Backend& backend) { return prepare_prefill(backend, c, Lists::kOfTheCase); }};
}

// The same call without the attention.
KernelWorkload one_page_workload(const ShapedCase& c) {
  return {
      .op = "prefill_attention",
      .what = cat(describe_attention(c), ", one page read"),
      .vendor = {},
      .prepare = [c](Backend& backend) { return prepare_prefill(backend, c, Lists::kOnePage); }};
}

}  // namespace

// Chunks of quantised caches also without attention; several prompts also one by one.
KernelWorkloads prefill_attention_workloads(const ShapedCase& c) {
  ShapedCase alone = c;
  alone.settings.batch = 1;
  alone.settings.beside.clear();
  KernelWorkloads list = {workload_of(alone)};
  const bool is_chunk = c.tokens < c.settings.context;
  if (has_scales(c.settings.kv_format) && is_chunk) list.push_back(one_page_workload(alone));
  if (c.settings.beside.empty()) return list;
  for (const int64_t tokens : c.settings.beside) {
    ShapedCase prompt = alone;
    prompt.settings.context = tokens;
    prompt.tokens = tokens;
    list.push_back(workload_of(prompt));
  }
  ShapedCase together = alone;
  together.settings.beside = c.settings.beside;
  list.push_back(workload_of(together));
  return list;
}

}  // namespace lserve
