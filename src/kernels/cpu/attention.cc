// Spreads attention and the page selector's scores over the threads. What a thread computes depends
// on its work item (or split, or pages) alone, so results do not depend on the number of threads.
// Contracts: kernels/prefill_attention.h, kernels/decode_attention.h, kernels/page_scores.h.
#include <algorithm>
#include <numbers>

#include "base/checked_math.h"
#include "kernels/cpu/context.h"

namespace lserve::cpu {

static_assert(kPageTokens == kPageSize);
static_assert(sizeof(Span) == sizeof(PageSpan) && sizeof(PageRange) == sizeof(KeyBlockRange));

namespace {

constexpr int64_t kScorePages = 64;  // pages of one item that a thread scores at a time

KvHead kv_head(const PagedKvView& kv, int64_t head) {
  const KvCode code = kv.format == KvFormat::kF32    ? kKvF32
                      : kv.format == KvFormat::kBF16 ? kKvBF16
                                                     : kKvU8;
  return {reinterpret_cast<const uint8_t*>(kv.tile(0, head)), kv.page_bytes(), code, kv.head_dim};
}

void check_shapes(const TensorView& q, std::span<const PagedKvView> pools, int32_t group) {
  CHECK(group >= 1 && group <= kMaxGroup);
  CHECK_EQ(q.dim(1) % group, 0);
  CHECK(q.dim(2) == 64 || q.dim(2) == 128);
  for (const PagedKvView& kv : pools) CHECK_EQ(int64_t{kv.head_dim}, q.dim(2));
}

// The kernels take exponentials of base 2.
float log2_scale(float softmax_scale) { return softmax_scale * std::numbers::log2e_v<float>; }

// Scratch of `floats` floats for each thread, in cache lines of its own.
struct ThreadScratch {
  ThreadScratch(int64_t floats, Context* context)
      : stride(round_up(floats, int64_t{16})),
        data(context->per_thread.floats(stride * context->pool.num_threads())) {}
  float* of(int thread_idx) const { return data + stride * thread_idx; }
  int64_t stride;
  float* data;
};

}  // namespace

void prefill_attention(const PrefillAttentionParams& params, Context* context) {
  const int64_t num_heads = params.q.dim(1);
  const int64_t head_dim = params.q.dim(2);
  const int32_t group = params.gqa_group_size;
  check_shapes(params.q, params.pools, group);
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

void decode_attention(const DecodeAttentionParams& params, Context* context) {
  const int64_t num_heads = params.q.dim(1);
  const int64_t head_dim = params.q.dim(2);
  const int32_t group = params.gqa_group_size;
  check_shapes(params.q, params.pools, group);
  std::vector<SplitTask>& splits = context->splits;
  splits.clear();
  for (size_t i = 0; i < params.work.size(); ++i) {
    const int32_t count = ceil_div(params.work[i].num_spans, kDecodeSplit);
    for (int32_t split = 0; split < count; ++split) {
      splits.push_back({static_cast<int32_t>(i), split});
    }
  }
  const auto num_splits = static_cast<int64_t>(splits.size());
  // Results of all splits: [splits][group][head_dim], then their maxima and sums [splits][group].
  float* partial_out = context->partials.floats(num_splits * group * (head_dim + 2));
  float* partial_max = partial_out + num_splits * group * head_dim;
  float* partial_sum = partial_max + num_splits * group;
  const ThreadScratch scratch(context->kernels.decode_scratch_floats(group, head_dim), context);
  const auto first_of = [&](const DecodeWork& work) {
    return (work.seq_idx * num_heads + int64_t{work.kv_head} * group) * head_dim;
  };

  const auto run = [&](int64_t task, int thread_idx) {
    const SplitTask& part = splits[static_cast<size_t>(task)];
    const DecodeWork& work = params.work[static_cast<size_t>(part.item)];
    const int32_t first_span = part.split * kDecodeSplit;
    DecodeSplit split{};
    split.kv = kv_head(params.pools[static_cast<size_t>(work.pool)], work.head);
    split.q = params.q.as<float>() + first_of(work);
    split.group = group;
    split.scale = log2_scale(params.softmax_scale);
    split.spans = reinterpret_cast<const Span*>(params.spans.data()) + work.first_span + first_span;
    split.num_spans = std::min(kDecodeSplit, work.num_spans - first_span);
    split.out = partial_out + task * group * head_dim;
    split.max = partial_max + task * group;
    split.sum = partial_sum + task * group;
    split.scratch = scratch.of(thread_idx);
    context->kernels.decode_split[split.kv.code](split);
  };
  context->pool.parallel_for(num_splits, 1, [&](int64_t begin, int64_t end, int thread_idx) {
    for (int64_t task = begin; task < end; ++task) run(task, thread_idx);
  });

  for (int64_t task = 0; task < num_splits;) {
    const DecodeWork& work =
        params.work[static_cast<size_t>(splits[static_cast<size_t>(task)].item)];
    const int32_t count = ceil_div(work.num_spans, kDecodeSplit);
    context->kernels.merge_splits({partial_out + task * group * head_dim,
                                   partial_max + task * group, partial_sum + task * group, count,
                                   group, static_cast<int>(head_dim),
                                   params.out.as<float>() + first_of(work)});
    task += count;
  }
}

void page_scores(const PageScoreParams& params, Context* context) {
  CHECK(params.kv.key_stats != nullptr);
  CHECK(params.score == PageScore::kMinMax);
  CHECK_GE(params.scores.dim(0), static_cast<int64_t>(params.work.size()));
  const int64_t num_heads = params.q.dim(1);
  const int64_t head_dim = params.q.dim(2);
  const int32_t group = params.gqa_group_size;
  check_shapes(params.q, {&params.kv, 1}, group);
  const int64_t max_pages = params.scores.dim(1);
  const int64_t chunks = ceil_div(max_pages, kScorePages);
  const auto num_items = static_cast<int64_t>(params.work.size());
  float* signed_q = context->partials.floats(num_items * group * 2 * head_dim);
  for (int64_t i = 0; i < num_items; ++i) {
    const PageScoreWork& work = params.work[static_cast<size_t>(i)];
    CHECK_LE(ceil_div(int64_t{work.kv_len}, int64_t{kPageSize}), max_pages);
    const float* q = params.q.as<float>() +
                     (work.seq_idx * num_heads + int64_t{work.kv_head} * group) * head_dim;
    for (int64_t h = 0; h < group; ++h) {
      float* to = signed_q + (i * group + h) * 2 * head_dim;
      for (int64_t c = 0; c < head_dim; ++c) {
        to[c] = std::min(q[h * head_dim + c], 0.0F);
        to[c + head_dim] = std::max(q[h * head_dim + c], 0.0F);
      }
    }
  }
  const ThreadScratch scratch(2 * group * head_dim, context);
  const auto run = [&](int64_t task, int thread_idx) {
    const int64_t i = task / chunks;
    const PageScoreWork& work = params.work[static_cast<size_t>(i)];
    ScoreItem item{};
    item.stats = reinterpret_cast<const uint16_t*>(params.kv.stats(0, work.head));
    item.page_elements = params.kv.num_heads * params.kv.stats_elements();
    item.q = signed_q + i * group * 2 * head_dim;
    item.group = group;
    item.head_dim = static_cast<int>(head_dim);
    item.logical_page_size = params.kv.logical_page_size;
    item.pages = params.page_ids.data() + work.page_table;
    item.first_page = task % chunks * kScorePages;
    item.end_page =
        std::min(item.first_page + kScorePages, ceil_div(int64_t{work.kv_len}, int64_t{kPageSize}));
    item.kv_len = work.kv_len;
    item.scratch = scratch.of(thread_idx);
    item.mean = params.group == SelectorGroup::kMean;
    item.scores = params.scores.as<float>() + i * max_pages;
    context->kernels.page_scores(item);
  };
  context->pool.parallel_for(num_items * chunks, 1,
                             [&](int64_t begin, int64_t end, int thread_idx) {
                               for (int64_t task = begin; task < end; ++task) run(task, thread_idx);
                             });
}

}  // namespace lserve::cpu
