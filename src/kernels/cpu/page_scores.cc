// Spreads the page selector's scores over the threads, in parts of a few pages of an item. What a
// thread computes depends on its pages alone, so results do not depend on the number of threads.
// Contract: kernels/page_scores.h.
#include <algorithm>
#include <cmath>

#include "base/checked_math.h"
#include "kernels/cpu/context.h"

namespace lserve::cpu {

namespace {

constexpr int64_t kScorePages = 64;  // pages of one item that a thread scores at a time

// A query vector as the kernel multiplies it with a logical page's statistics, in their order, and
// the weight of the spread.
void prepare_query(const PagedKvView& kv, std::span<const float> q, float* channels,
                   float* spread_weight) {
  if (kv.page_score == PageScore::kMeanStd) {
    float squares = 0;
    for (const float x : q) squares += x * x;
    *spread_weight = kSpreadWeight * std::sqrt(squares);
    std::copy(q.begin(), q.end(), channels);
    return;
  }
  // Minima and maxima take turns.
  const size_t turn = kv.stats_format == KeyStatsFormat::kInt8 ? kBoundsChannels : q.size();
  for (size_t c = 0; c < q.size(); ++c) {
    const size_t min = c / turn * 2 * turn + c % turn;
    channels[min] = std::min(q[c], 0.0F);
    channels[min + turn] = std::max(q[c], 0.0F);
  }
}

}  // namespace

void page_scores(const PageScoreParams& params, Context* context) {
  CHECK(params.kv.key_stats != nullptr);
  CHECK_GE(params.scores.dim(0), static_cast<int64_t>(params.work.size()));
  const int64_t num_heads = params.q.dim(1);
  const int64_t head_dim = params.q.dim(2);
  CHECK(head_dim == 64 || head_dim == 128);
  CHECK_EQ(int64_t{params.kv.head_dim}, head_dim);
  const int64_t most_heads = most_q_heads(params.work, num_heads);
  const int64_t max_pages = params.scores.dim(1);
  const int64_t chunks = ceil_div(max_pages, kScorePages);
  const auto num_items = static_cast<int64_t>(params.work.size());
  const PageScore score = params.kv.page_score;
  const int64_t channels = score == PageScore::kMinMax ? 2 * head_dim : head_dim;
  // Of all items: queries [most_heads][channels], then the weights of the spread [most_heads].
  float* queries = context->partials.floats(num_items * most_heads * (channels + 1));
  float* spread_weights = queries + num_items * most_heads * channels;
  for (int64_t i = 0; i < num_items; ++i) {
    const PageScoreWork& work = params.work[static_cast<size_t>(i)];
    CHECK_LE(ceil_div(int64_t{work.kv_len}, int64_t{kPageSize}), max_pages);
    for (int64_t h = 0; h < work.num_q_heads; ++h) {
      const int64_t row = work.seq_idx * num_heads + work.first_q_head + h;
      const int64_t to = i * most_heads + h;
      prepare_query(params.kv,
                    {params.q.as<float>() + row * head_dim, static_cast<size_t>(head_dim)},
                    queries + to * channels, spread_weights + to);
    }
  }
  const ThreadScratch scratch(most_heads * channels, context);
  const auto run = [&](int64_t task, int thread_idx) {
    const int64_t i = task / chunks;
    const PageScoreWork& work = params.work[static_cast<size_t>(i)];
    ScoreItem item{};
    item.stats = reinterpret_cast<const uint8_t*>(params.kv.stats(0, work.head));
    item.page_bytes = params.kv.num_heads * params.kv.stats_elements() * int64_t{sizeof(bf16)};
    item.codes = params.kv.stats_format == KeyStatsFormat::kInt8;
    item.row_bytes = item.codes ? params.kv.codes_block_bytes() : channels * int64_t{sizeof(bf16)};
    item.q = queries + i * most_heads * channels;
    item.group = work.num_q_heads;
    item.num_channels = static_cast<int>(channels);
    if (score == PageScore::kMeanStd) item.spread_weight = spread_weights + i * most_heads;
    item.logical_page_size = params.kv.logical_page_size;
    item.pages = params.page_ids.data() + work.page_table;
    item.first_page = task % chunks * kScorePages;
    item.end_page =
        std::min(item.first_page + kScorePages, ceil_div(int64_t{work.kv_len}, int64_t{kPageSize}));
    item.kv_len = work.kv_len;
    item.scratch = scratch.of(thread_idx);
    item.mean = params.mean;
    item.scores = params.scores.as<float>() + i * max_pages;
    context->kernels.page_scores(item);
  };
  context->pool.parallel_for(num_items * chunks, 1,
                             [&](int64_t begin, int64_t end, int thread_idx) {
                               for (int64_t task = begin; task < end; ++task) run(task, thread_idx);
                             });
}

}  // namespace lserve::cpu
