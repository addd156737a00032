// See attention_runner.h.
#include "support/attention_runner.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "base/strings.h"
#include "support/compare.h"

namespace lserve::testing {

namespace {

float softmax_scale_of(const PagedKvFixture& kv) {
  return 1.0F / std::sqrt(static_cast<float>(kv.shape().head_dim));
}

std::span<const float> row_of(const std::vector<float>& x, int64_t row, int32_t head_dim) {
  return std::span(x).subspan(static_cast<size_t>(row * head_dim), static_cast<size_t>(head_dim));
}

}  // namespace

int32_t random_gqa_group(Random* random) {
  constexpr std::array kGroups = {1, 3, 4, 7, 8, 11, 16};
  return kGroups[static_cast<size_t>(random->integer(0, std::ssize(kGroups) - 1))];
}

std::vector<PageSpan> spans_of(const PagedKvFixture& kv, int32_t seq,
                               const std::vector<int32_t>& tokens) {
  std::vector<PageSpan> spans;
  int32_t previous = -2;
  for (const int32_t t : tokens) {
    const auto offset = static_cast<int16_t>(t % kPageSize);
    if (t == previous + 1 && offset != 0) {
      spans.back().end = static_cast<int16_t>(offset + 1);
    } else {
      const auto page = static_cast<int32_t>(kv.slot(seq, t) / kPageSize);
      spans.push_back({page, offset, static_cast<int16_t>(offset + 1)});
    }
    previous = t;
  }
  return spans;
}

std::vector<int32_t> all_tokens(int32_t len) {
  std::vector<int32_t> tokens(static_cast<size_t>(len));
  std::iota(tokens.begin(), tokens.end(), 0);
  return tokens;
}

TokenLists dense_lists(const PagedKvFixture& kv) {
  TokenLists lists;
  for (const int32_t len : kv.shape().kv_lens) {
    for (int32_t h = 0; h < kv.shape().num_heads; ++h) lists.push_back(all_tokens(len));
  }
  return lists;
}

DecodeRun random_decode(const PagedKvFixture& kv, Random* random) {
  DecodeRun run;
  run.group = random_gqa_group(random);
  run.softmax_scale = softmax_scale_of(kv);
  const auto num_seqs = static_cast<int64_t>(kv.shape().kv_lens.size());
  run.q =
      make(random_values(random), num_seqs * kv.shape().num_heads * run.group * kv.shape().head_dim,
           kv.shape().head_dim, random);
  return run;
}

int64_t decode_row(const PagedKvFixture& kv, const DecodeRun& run, int32_t seq, int32_t head,
                   int32_t g) {
  return (int64_t{seq} * kv.shape().num_heads + kv_head_of(kv, head)) * run.group + g;
}

namespace {

// Whom a list is for.
struct Reader {
  int32_t seq;
  int32_t head;
  int32_t first;  // query head of the group
  int32_t count;
};

Reader reader_of(const PagedKvFixture& kv, const DecodeRun& run, const TokenLists& lists,
                 size_t list) {
  const auto num_heads = static_cast<size_t>(kv.shape().num_heads);
  const size_t per_head = lists.size() / (kv.shape().kv_lens.size() * num_heads);
  CHECK_EQ(lists.size(), per_head * kv.shape().kv_lens.size() * num_heads);
  CHECK_EQ(run.group % static_cast<int32_t>(per_head), 0);
  const auto count = run.group / static_cast<int32_t>(per_head);
  return {static_cast<int32_t>(list / per_head / num_heads),
          static_cast<int32_t>(list / per_head % num_heads),
          static_cast<int32_t>(list % per_head) * count, count};
}

}  // namespace

std::vector<float> decode(Backend* backend, PagedKvFixture* kv, const DecodeRun& run,
                          const TokenLists& lists) {
  const PagedKvShape& shape = kv->shape();
  std::vector<float> q = run.q;
  std::vector<float> out = poisoned(static_cast<int64_t>(q.size()));
  // Items with nothing to do, before and behind the others, must leave the rows they name alone.
  std::vector<DecodeWork> work = {{.num_spans = 0}};
  std::vector<PageSpan> spans;
  for (size_t i = 0; i < lists.size(); ++i) {
    if (lists[i].empty()) continue;
    const Reader reader = reader_of(*kv, run, lists, i);
    const auto added = spans_of(*kv, reader.seq, lists[i]);
    work.push_back({.seq_idx = reader.seq,
                    .head = reader.head,
                    .first_q_head = kv_head_of(*kv, reader.head) * run.group + reader.first,
                    .num_q_heads = reader.count,
                    .first_span = static_cast<int32_t>(spans.size()),
                    .num_spans = static_cast<int32_t>(added.size())});
    spans.insert(spans.end(), added.begin(), added.end());
  }
  work.push_back({.num_spans = 0});
  const PagedKvView view = kv->view();
  const Shape dims{static_cast<int64_t>(shape.kv_lens.size()), int64_t{shape.num_heads} * run.group,
                   shape.head_dim};
  backend->decode_attention({.q = TensorView(q.data(), dims),
                             .out = TensorView(out.data(), dims),
                             .pools = std::span(&view, 1),
                             .work = work,
                             .spans = spans,
                             .softmax_scale = run.softmax_scale});
  backend->synchronize();
  return out;
}

::testing::AssertionResult decode_is_right(const PagedKvFixture& kv, const DecodeRun& run,
                                           const TokenLists& lists, const std::vector<float>& out) {
  const PagedKvShape& shape = kv.shape();
  for (size_t i = 0; i < lists.size(); ++i) {
    if (lists[i].empty()) continue;
    const Reader reader = reader_of(kv, run, lists, i);
    for (int32_t g = reader.first; g < reader.first + reader.count; ++g) {
      const int64_t row = decode_row(kv, run, reader.seq, reader.head, g);
      const auto oracle =
          attend_float64(kv, reader.seq, reader.head, row_of(run.q, row, shape.head_dim), lists[i],
                         run.softmax_scale, 0, decode_word_rounding(shape.format));
      auto result = all_near(row_of(out, row, shape.head_dim), oracle.out, oracle.tolerance);
      if (!result) {
        return result << "; sequence " << reader.seq << " of "
                      << shape.kv_lens[static_cast<size_t>(reader.seq)] << " tokens ("
                      << lists[i].size() << " attended), head " << reader.head << ", group " << g
                      << " of " << run.group << ", head_dim " << shape.head_dim << ", "
                      << kv_format_name(shape.format);
      }
    }
  }
  return ::testing::AssertionSuccess();
}

PrefillRun random_prefill(const PagedKvFixture& kv, Random* random) {
  PrefillRun run;
  const int32_t len = kv.shape().kv_lens[0];
  run.group = random_gqa_group(random);
  run.first = static_cast<int32_t>(random->integer(0, 1) == 0 ? 0 : random->integer(0, len - 1));
  run.softmax_scale = softmax_scale_of(kv);
  for (int32_t h = 0; h < kv.shape().num_heads; ++h) {
    TokenWindow window;
    if (random->integer(0, 2) > 0) {
      window.sink_tokens = static_cast<int32_t>(random->integer(0, 70));
      window.local_tokens = static_cast<int32_t>(random->integer(1, 70));
    }
    run.windows.push_back(window);
  }
  run.q = make(random_values(random),
               int64_t{len - run.first} * kv.shape().num_heads * run.group * kv.shape().head_dim,
               kv.shape().head_dim, random);
  return run;
}

namespace {

// The pages that hold a key which any of the positions [first, last] sees.
void append_ranges(int32_t first, int32_t last, const TokenWindow& window,
                   std::vector<KeyBlockRange>* ranges, size_t first_range) {
  for (int32_t page = 0; page * kPageSize <= last; ++page) {
    bool seen = false;
    for (int32_t p = first; p <= last && !seen; ++p) {
      for (int32_t i = page * kPageSize; i < (page + 1) * kPageSize && i <= p && !seen; ++i) {
        seen = i < window.sink_tokens || p - i < window.local_tokens;
      }
    }
    if (!seen) continue;
    if (ranges->size() > first_range && ranges->back().end == page) {
      ++ranges->back().end;
    } else {
      ranges->push_back({page, page + 1});
    }
  }
}

}  // namespace

std::vector<float> prefill(Backend* backend, PagedKvFixture* kv, const PrefillRun& run,
                           int32_t block_size) {
  const PagedKvShape& shape = kv->shape();
  const int32_t len = shape.kv_lens[0];
  std::vector<float> q = run.q;
  std::vector<float> out = poisoned(static_cast<int64_t>(q.size()));
  std::vector<PrefillWork> work;
  std::vector<KeyBlockRange> ranges;
  for (int32_t head = 0; head < shape.num_heads; ++head) {
    const TokenWindow& window = run.windows[static_cast<size_t>(head)];
    for (int32_t begin = run.first; begin < len;) {
      const int32_t end = std::min(len, begin - begin % block_size + block_size);
      PrefillWork item{.head = head,
                       .kv_head = kv_head_of(*kv, head),
                       .q_begin = begin - run.first,
                       .q_end = end - run.first,
                       .position = begin,
                       .page_table = kv->page_table(0),
                       .first_range = static_cast<int32_t>(ranges.size()),
                       .window = window};
      append_ranges(begin, end - 1, window, &ranges, ranges.size());
      item.num_ranges = static_cast<int32_t>(ranges.size()) - item.first_range;
      work.push_back(item);
      begin = end;
    }
  }
  const PagedKvView view = kv->view();
  const std::span<const int32_t> table = kv->page_ids();
  const Shape dims{len - run.first, int64_t{shape.num_heads} * run.group, shape.head_dim};
  backend->prefill_attention({.q = TensorView(q.data(), dims),
                              .out = TensorView(out.data(), dims),
                              .pools = std::span(&view, 1),
                              .page_tables = std::span(&table, 1),
                              .work = work,
                              .ranges = ranges,
                              .gqa_group_size = run.group,
                              .softmax_scale = run.softmax_scale});
  backend->synchronize();
  return out;
}

::testing::AssertionResult prefill_is_right(const PagedKvFixture& kv, const PrefillRun& run,
                                            const std::vector<float>& out, double operand_rounding,
                                            int32_t every) {
  const PagedKvShape& shape = kv.shape();
  for (int32_t head = 0; head < shape.num_heads; ++head) {
    const TokenWindow& window = run.windows[static_cast<size_t>(head)];
    for (int32_t p = run.first; p < shape.kv_lens[0]; p += every) {
      const auto tokens = visible_from(p, window);
      for (int32_t g = 0; g < run.group; ++g) {
        const int64_t row =
            (int64_t{p - run.first} * shape.num_heads + kv_head_of(kv, head)) * run.group + g;
        const auto oracle = attend_float64(kv, 0, head, row_of(run.q, row, shape.head_dim), tokens,
                                           run.softmax_scale, operand_rounding);
        auto result = all_near(row_of(out, row, shape.head_dim), oracle.out, oracle.tolerance);
        if (!result) {
          return result << "; position " << p << " of " << shape.kv_lens[0] << ", first "
                        << run.first << ", sink " << window.sink_tokens << ", local "
                        << window.local_tokens << ", head " << head << ", group " << g
                        << ", head_dim " << shape.head_dim << ", " << kv_format_name(shape.format);
        }
      }
    }
  }
  return ::testing::AssertionSuccess();
}

}  // namespace lserve::testing
