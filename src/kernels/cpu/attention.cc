// Spreads attention over the threads. What a thread computes depends on its work item (or split)
// alone, so results do not depend on the number of threads.
// Contracts: kernels/prefill_attention.h, kernels/decode_attention.h.
#include <algorithm>
#include <numbers>

#include "base/checked_math.h"
#include "kernels/cpu/context.h"

namespace lserve::cpu {

static_assert(kPageTokens == kPageSize);
static_assert(sizeof(Span) == sizeof(PageSpan) && sizeof(PageRange) == sizeof(KeyBlockRange));

namespace {

KvCode kv_code(KvFormat format) {
  switch (format) {
    case KvFormat::kF32:
      return kKvF32;
    case KvFormat::kBF16:
      return kKvBF16;
    case KvFormat::kInt8:
      return kKvU8;
    case KvFormat::kInt4:
      return kKvU4;
  }
  return kNumKvCodes;
}

KvHead kv_head(const PagedKvView& kv, int64_t head) {
  return {reinterpret_cast<const uint8_t*>(kv.tile(0, head)), kv.page_bytes(), kv_code(kv.format),
          kv.head_dim};
}

void check_shapes(const TensorView& q, std::span<const PagedKvView> pools) {
  CHECK(q.dim(2) == 64 || q.dim(2) == 128);
  for (const PagedKvView& kv : pools) CHECK_EQ(int64_t{kv.head_dim}, q.dim(2));
}

// The kernels take exponentials of base 2.
float log2_scale(float softmax_scale) { return softmax_scale * std::numbers::log2e_v<float>; }

}  // namespace

void prefill_attention(const PrefillAttentionParams& params, Context* context) {
  const int64_t num_heads = params.q.dim(1);
  const int64_t head_dim = params.q.dim(2);
  const int32_t group = params.gqa_group_size;
  check_shapes(params.q, params.pools);
  CHECK(group >= 1 && group <= kMaxGroup);
  CHECK_EQ(num_heads % group, 0);
  int64_t most_rows = 0;
  for (const PrefillWork& work : params.work) {
    most_rows = std::max<int64_t>(most_rows, work.q_end - work.q_begin);
  }
  const ThreadScratch scratch(context->kernels.prefill_scratch_floats(most_rows * group, head_dim),
                              context);
  const auto run = [&](const PrefillWork& work, int thread_idx) {
    const auto pool = static_cast<size_t>(work.pool);
    const int64_t first = (work.q_begin * num_heads + int64_t{work.kv_head} * group) * head_dim;
    PrefillItem item{};
    item.kv = kv_head(params.pools[pool], work.head);
    item.q = params.q.as<float>() + first;
    item.out = params.out.as<float>() + first;
    item.row_stride = num_heads * head_dim;
    item.num_rows = work.q_end - work.q_begin;
    item.group = group;
    item.scale = log2_scale(params.softmax_scale);
    item.position = work.position;
    item.sink = work.window.sink_tokens;
    item.local = work.window.local_tokens;
    item.pages = params.page_tables[pool].data() + work.page_table;
    item.ranges = reinterpret_cast<const PageRange*>(params.ranges.data()) + work.first_range;
    item.num_ranges = work.num_ranges;
    item.scratch = scratch.of(thread_idx);
    context->kernels.prefill[item.kv.code](item);
  };
  context->pool.parallel_for(static_cast<int64_t>(params.work.size()), 1,
                             [&](int64_t begin, int64_t end, int thread_idx) {
                               for (int64_t i = begin; i < end; ++i) {
                                 run(params.work[static_cast<size_t>(i)], thread_idx);
                               }
                             });
}

namespace {
// Partial results: one for each query head and split.
int64_t most_partials(const ScratchLimits& limits) {
  return limits.num_q_heads * ceil_div(limits.num_spans, int64_t{kDecodeSplit});
}
// These, or before them the queries of the page selector, as it reads them.
int64_t partial_floats(const ScratchLimits& limits) {
  return std::max(most_partials(limits) * (limits.head_dim + 2),
                  limits.num_q_heads * (2 * limits.head_dim + 1));
}
}  // namespace

int64_t decode_scratch_bytes(const ScratchLimits& limits) {
  return Scratch::allocated_bytes(partial_floats(limits) * int64_t{sizeof(float)}) +
         most_partials(limits) * int64_t{sizeof(SplitTask)};
}

void reserve_decode(const ScratchLimits& limits, Context* context) {
  context->splits.reserve(static_cast<size_t>(most_partials(limits)));
  context->partials.floats(partial_floats(limits));
}

void decode_attention(const DecodeAttentionParams& params, Context* context) {
  const int64_t num_heads = params.q.dim(1);
  const int64_t head_dim = params.q.dim(2);
  check_shapes(params.q, params.pools);
  const int64_t most_heads = most_q_heads(params.work, num_heads);
  std::vector<SplitTask>& splits = context->splits;
  splits.clear();
  int64_t num_rows = 0;
  for (size_t i = 0; i < params.work.size(); ++i) {
    const int32_t count = ceil_div(params.work[i].num_spans, kDecodeSplit);
    for (int32_t split = 0; split < count; ++split) {
      splits.push_back({static_cast<int32_t>(i), split, num_rows});
      num_rows += params.work[i].num_q_heads;
    }
  }
  const auto num_splits = static_cast<int64_t>(splits.size());
  // Results of all splits, a row for each query head: sums of values [rows][head_dim], then the
  // maxima and the sums of the weights [rows].
  float* partial_out = context->partials.floats(num_rows * (head_dim + 2));
  float* partial_max = partial_out + num_rows * head_dim;
  float* partial_sum = partial_max + num_rows;
  const ThreadScratch scratch(context->kernels.decode_scratch_floats(most_heads, head_dim),
                              context);
  const auto first_of = [&](const DecodeWork& work) {
    return (work.seq_idx * num_heads + work.first_q_head) * head_dim;
  };

  const auto run = [&](int64_t task, int thread_idx) {
    const SplitTask& part = splits[static_cast<size_t>(task)];
    const DecodeWork& work = params.work[static_cast<size_t>(part.item)];
    const int32_t first_span = part.split * kDecodeSplit;
    DecodeSplit split{};
    split.kv = kv_head(params.pools[static_cast<size_t>(work.pool)], work.head);
    split.q = params.q.as<float>() + first_of(work);
    split.group = work.num_q_heads;
    split.scale = log2_scale(params.softmax_scale);
    split.spans = reinterpret_cast<const Span*>(params.spans.data()) + work.first_span + first_span;
    split.num_spans = std::min(kDecodeSplit, work.num_spans - first_span);
    split.out = partial_out + part.first_row * head_dim;
    split.max = partial_max + part.first_row;
    split.sum = partial_sum + part.first_row;
    split.scratch = scratch.of(thread_idx);
    context->kernels.decode_split[split.kv.code](split);
  };
  context->pool.parallel_for(num_splits, 1, [&](int64_t begin, int64_t end, int thread_idx) {
    for (int64_t task = begin; task < end; ++task) run(task, thread_idx);
  });

  for (int64_t task = 0; task < num_splits;) {
    const SplitTask& first = splits[static_cast<size_t>(task)];
    const DecodeWork& work = params.work[static_cast<size_t>(first.item)];
    const int32_t count = ceil_div(work.num_spans, kDecodeSplit);
    context->kernels.merge_splits({partial_out + first.first_row * head_dim,
                                   partial_max + first.first_row, partial_sum + first.first_row,
                                   count, work.num_q_heads, static_cast<int>(head_dim),
                                   params.out.as<float>() + first_of(work)});
    task += count;
  }
}

}  // namespace lserve::cpu
