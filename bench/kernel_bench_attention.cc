// Attention over the pages of a random sequence: prefill_attention, decode_attention, page_scores,
// and write_kv, which fills the pages.
#include <algorithm>
#include <memory>

#include "base/checked_math.h"
#include "base/strings.h"
#include "kernel_bench_workloads.h"

namespace lserve::bench {

namespace {

// Sequences of `tokens` tokens in the pages of one layer each.
struct KvLayers {
  std::vector<Buffer> tiles;
  std::vector<Buffer> stats;
  std::vector<PagedKvView> views;
  std::vector<int32_t> pages;
  int64_t tokens;

  KvLayers(Backend* backend, Random* random, KvFormat format, int64_t layers, int64_t length,
           PageScore page_score = PageScore::kMinMax)
      : tokens(length) {
    const int64_t num_pages = ceil_div(length, int64_t{kPageSize});
    for (int64_t i = 0; i < num_pages; ++i) pages.push_back(static_cast<int32_t>(i));
    std::vector<int64_t> slots;
    for (int64_t t = 0; t < length; ++t) slots.push_back(t);
    Floats k = normals(random, length * kKvHeads * kHeadDim);
    Floats v = normals(random, length * kKvHeads * kHeadDim);
    const std::vector<int32_t> all_heads = {0, 1, 2};
    for (int64_t i = 0; i < layers; ++i) {
      PagedKvView kv;
      kv.format = format;
      kv.page_score = page_score;
      kv.num_pages = num_pages;
      kv.num_heads = kKvHeads;
      kv.head_dim = kHeadDim;
      tiles.push_back(
          std::move(backend->allocate(static_cast<size_t>(num_pages * kv.page_bytes())).value()));
      const int64_t elements = num_pages * kKvHeads * kv.stats_elements();
      stats.push_back(std::move(backend->allocate(static_cast<size_t>(elements * 2)).value()));
      kv.tiles = tiles.back().as<std::byte>();
      kv.key_stats = stats.back().as<bf16>();
      views.push_back(kv);
      backend->write_kv({heads(k, kKvHeads), heads(v, kKvHeads), kv, all_heads, slots});
    }
  }
};

Workload prefill_workload(const Bench& bench, int64_t tokens) {
  Backend* backend = bench.backend;
  Backend* reference = bench.reference;
  Random* random = bench.random;
  struct Data {
    KvLayers kv;
    Floats q, out;
    std::vector<PrefillWork> work;
    std::vector<KeyBlockRange> ranges;
    std::vector<std::span<const int32_t>> tables;
    void run(Backend* on) {
      on->prefill_attention(
          {heads(q, kQHeads), heads(out, kQHeads), kv.views, tables, work, ranges, kGroup, 0.125F});
    }
  };
  auto data = std::make_shared<Data>(Data{{backend, random, KvFormat::kBF16, 1, tokens},
                                          normals(random, tokens * kQHeads * kHeadDim),
                                          Floats(static_cast<size_t>(tokens * kQHeads * kHeadDim)),
                                          {},
                                          {},
                                          {}});
  data->tables = {data->kv.pages};
  for (int64_t end = tokens; end > 0; end -= kMaxQueryBlock) {
    const int64_t begin = std::max<int64_t>(end - kMaxQueryBlock, 0);
    for (int32_t h = 0; h < kKvHeads; ++h) {
      PrefillWork work;
      work.head = work.kv_head = h;
      work.q_begin = work.position = static_cast<int32_t>(begin);
      work.q_end = static_cast<int32_t>(end);
      work.first_range = static_cast<int32_t>(data->ranges.size());
      work.num_ranges = 1;
      data->ranges.push_back({0, static_cast<int32_t>(ceil_div(end, int64_t{kPageSize}))});
      data->work.push_back(work);
    }
  }
  const double pairs = 0.5 * static_cast<double>(tokens) * static_cast<double>(tokens + 1);
  return {cat("prefill attention, dense, bf16, ", tokens, " tokens"),
          Bound::kBf16,
          pairs * kQHeads * kHeadDim * 4,
          0.60,
          [=] { data->run(backend); },
          [=] { data->run(reference); },
          1.0};
}

// `lists`: of spans for each KV head, each for an equal part of its query heads.
Workload decode_workload(const Bench& bench, KvFormat format, int64_t tokens, int32_t lists = 1) {
  Backend* backend = bench.backend;
  Backend* reference = bench.reference;
  Random* random = bench.random;
  struct Data {
    KvLayers kv;
    Floats q, out;
    std::vector<DecodeWork> work;
    std::vector<PageSpan> spans;
    void run(Backend* on, size_t layers) {
      for (size_t i = 0; i < layers; ++i) {
        on->decode_attention(
            {heads(q, kQHeads), heads(out, kQHeads), {&kv.views[i], 1}, work, spans, 0.125F});
      }
    }
  };
  auto data = std::make_shared<Data>(Data{{backend, random, format, kLayers, tokens},
                                          normals(random, kQHeads * kHeadDim),
                                          Floats(kQHeads * kHeadDim),
                                          {},
                                          {}});
  const auto num_spans = static_cast<int32_t>(data->kv.pages.size());
  for (int32_t i = 0; i < kKvHeads * lists; ++i) {
    data->work.push_back({.head = i / lists,
                          .first_q_head = i * kGroup / lists,
                          .num_q_heads = kGroup / lists,
                          .first_span = i * num_spans,
                          .num_spans = num_spans});
    for (int32_t page = 0; page < num_spans; ++page) {
      const int64_t valid = std::min<int64_t>(kPageSize, tokens - page * kPageSize);
      data->spans.push_back({page, 0, static_cast<int16_t>(valid)});
    }
  }
  const double bytes = static_cast<double>(
      kLayers * tokens * kKvHeads * lists * 2 *
      (kv_vector_bytes(format, kHeadDim) + (has_scales(format) ? int64_t{4} : int64_t{0})));
  return {cat("decode attention, ", kv_format_name(format), ", ", tokens, " tokens, ",
              lists == 1 ? "" : "a list a query head, ", "all layers"),
          Bound::kMemory,
          bytes,
          format == KvFormat::kBF16 && tokens >= 1024 && lists == 1 ? 0.60 : 0.0,
          [=] { data->run(backend, kLayers); },
          [=] { data->run(reference, 1); },
          1.0 / kLayers};
}

Workload scores_workload(const Bench& bench, PageScore page_score, int64_t tokens) {
  Backend* backend = bench.backend;
  Backend* reference = bench.reference;
  Random* random = bench.random;
  struct Data {
    KvLayers kv;
    Floats q, scores;
    std::vector<PageScoreWork> work;
    void run(Backend* on, size_t layers) {
      const auto max_pages = static_cast<int64_t>(kv.pages.size());
      for (size_t i = 0; i < layers; ++i) {
        on->page_scores({.q = heads(q, kQHeads),
                         .kv = kv.views[i],
                         .page_ids = kv.pages,
                         .work = work,
                         .scores = view(scores, max_pages)});
      }
    }
  };
  constexpr int64_t kScoreLayers = 6;
  auto data = std::make_shared<Data>(
      Data{{backend, random, KvFormat::kBF16, kScoreLayers, tokens, page_score},
           normals(random, kQHeads * kHeadDim),
           {},
           {}});
  data->scores.resize(static_cast<size_t>(kKvHeads) * data->kv.pages.size());
  for (int32_t h = 0; h < kKvHeads; ++h) {
    data->work.push_back({.head = h,
                          .first_q_head = h * kGroup,
                          .num_q_heads = kGroup,
                          .kv_len = static_cast<int32_t>(tokens)});
  }
  double bytes = 0;
  for (const Buffer& stats : data->kv.stats) bytes += static_cast<double>(stats.bytes());
  const char* name = page_score == PageScore::kMinMax ? "page scores, " : "page scores, mean-std, ";
  return {cat(name, tokens, " tokens, ", kScoreLayers, " layers"),
          Bound::kMemory,
          bytes,
          0.60,
          [=] { data->run(backend, kScoreLayers); },
          [=] { data->run(reference, 1); },
          1.0 / kScoreLayers};
}

void add_write_kv(const Bench& bench, KvFormat format, PageScore page_score, int64_t tokens,
                  std::vector<Workload>* list) {
  Backend* backend = bench.backend;
  Backend* reference = bench.reference;
  Random* random = bench.random;
  struct Data {
    KvLayers kv;
    Floats k, v;
    std::vector<int64_t> slots;
    std::vector<int32_t> kv_heads = {0, 1, 2};
    void run(Backend* on) {
      on->write_kv({heads(k, kKvHeads), heads(v, kKvHeads), kv.views[0], kv_heads, slots});
    }
  };
  auto data = std::make_shared<Data>(Data{{backend, random, format, 1, tokens, page_score},
                                          normals(random, tokens * kKvHeads * kHeadDim),
                                          normals(random, tokens * kKvHeads * kHeadDim),
                                          {}});
  for (int64_t t = 0; t < tokens; ++t) data->slots.push_back(t);
  const char* statistics = page_score == PageScore::kMinMax ? "" : "mean-std, ";
  list->push_back({cat("write_kv, ", kv_format_name(format), ", ", statistics, tokens, " tokens"),
                   Bound::kNone, static_cast<double>(tokens * kKvHeads * kHeadDim * 2 * 6), 0,
                   [=] { data->run(backend); }, [=] { data->run(reference); }, 1.0});
}

}  // namespace

void add_prefill_attention(const Bench& bench, std::vector<Workload>* list) {
  list->push_back(prefill_workload(bench, 2048));
  add_write_kv(bench, KvFormat::kBF16, PageScore::kMinMax, 512, list);
  add_write_kv(bench, KvFormat::kInt4, PageScore::kMinMax, 512, list);
  add_write_kv(bench, KvFormat::kBF16, PageScore::kMeanStd, 512, list);
}

void add_decode_attention(const Bench& bench, std::vector<Workload>* list) {
  list->push_back(decode_workload(bench, KvFormat::kBF16, 7000));
  list->push_back(decode_workload(bench, KvFormat::kBF16, 64));
  list->push_back(decode_workload(bench, KvFormat::kInt8, 7000));
  list->push_back(decode_workload(bench, KvFormat::kInt4, 7000));
  list->push_back(decode_workload(bench, KvFormat::kBF16, 1024, kGroup));
}

void add_page_scores(const Bench& bench, std::vector<Workload>* list) {
  list->push_back(scores_workload(bench, PageScore::kMinMax, 65536));
  list->push_back(scores_workload(bench, PageScore::kMeanStd, 65536));
}

}  // namespace lserve::bench
