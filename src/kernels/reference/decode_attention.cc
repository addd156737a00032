// Attention of one query over spans of pages. Contract: kernels/decode_attention.h.
#include "kernels/decode_attention.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/reference/ops.h"
#include "kernels/reference/softmax_row.h"

namespace lserve::reference {

namespace {

// One work item: each split by itself, then merged in order.
void attend_item(const DecodeAttentionParams& params, const DecodeWork& work) {
  if (work.num_spans == 0) return;
  const PagedKvView& kv = params.pools[static_cast<size_t>(work.pool)];
  const auto group = static_cast<size_t>(work.num_q_heads);
  CHECK(0 <= work.first_q_head && work.first_q_head + work.num_q_heads <= params.q.dim(1));
  const int64_t first_head = int64_t{work.seq_idx} * params.q.dim(1) + work.first_q_head;
  const float* q = params.q.as<float>() + first_head * kv.head_dim;
  float* out = params.out.as<float>() + first_head * kv.head_dim;
  const auto spans = params.spans.subspan(static_cast<size_t>(work.first_span),
                                          static_cast<size_t>(work.num_spans));

  PageReader page(kv);
  std::vector<int32_t> offsets;
  std::vector<SoftmaxRow> heads;
  for (size_t first = 0; first < spans.size(); first += kDecodeSplit) {
    std::vector<SoftmaxRow> split(group, SoftmaxRow(kv.head_dim));
    const size_t count = std::min<size_t>(kDecodeSplit, spans.size() - first);
    for (const PageSpan& span : spans.subspan(first, count)) {
      CHECK_LT(span.begin, span.end);
      page.read(span.page_id, work.head, span.begin, span.end);
      offsets.resize(static_cast<size_t>(span.end - span.begin));
      std::iota(offsets.begin(), offsets.end(), int32_t{span.begin});
      for (size_t g = 0; g < group; ++g) {
        split[g].attend(q + static_cast<int64_t>(g) * kv.head_dim, page, offsets,
                        params.softmax_scale);
      }
    }
    if (heads.empty()) {
      heads = std::move(split);
    } else {
      for (size_t g = 0; g < group; ++g) heads[g].merge(split[g]);
    }
  }
  for (size_t g = 0; g < heads.size(); ++g) {
    heads[g].write(out + static_cast<int64_t>(g) * kv.head_dim);
  }
}

}  // namespace

void decode_attention(const DecodeAttentionParams& params, ThreadPool* pool) {
  CHECK(params.out.shape == params.q.shape);
  pool->parallel_for(static_cast<int64_t>(params.work.size()), 1,
                     [&](int64_t begin, int64_t end, int) {
                       for (int64_t i = begin; i < end; ++i) {
                         attend_item(params, params.work[static_cast<size_t>(i)]);
                       }
                     });
}

}  // namespace lserve::reference
