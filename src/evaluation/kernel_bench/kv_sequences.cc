#include "evaluation/kernel_bench/kv_sequences.h"

#include <algorithm>
#include <array>

#include "base/checked_math.h"

namespace lserve {

namespace {

constexpr int64_t kFillTokens = 1024;  // written at once
constexpr std::array kClasses = {HeadClass::kRetrieval, HeadClass::kStreaming};

// Tokens of each sequence.
std::vector<int64_t> contexts_of(const ShapedCase& c) {
  std::vector<int64_t> contexts(static_cast<size_t>(c.settings.batch), c.settings.context);
  contexts.insert(contexts.end(), c.settings.beside.begin(), c.settings.beside.end());
  return contexts;
}

int64_t streaming_pages(const ShapedCase& c, int64_t context, const KvNeeds& needs) {
  const int64_t all = ceil_div<int64_t>(context, kPageSize);
  const AttentionConfig& attention = c.settings.attention;
  const int64_t kept = attention.sink_tokens + attention.local_tokens + kFillTokens;
  return needs.all_tokens ? all : std::min(all, ceil_div<int64_t>(kept, kPageSize) + 3);
}

KvCacheConfig cache_config(const ShapedCase& c, const KvNeeds& needs, const HeadPattern& pattern) {
  KvCacheConfig config;
  const auto count = [&](HeadClass of) {
    return static_cast<int32_t>(pattern.heads(0, of).size());
  };
  config.num_heads.push_back({count(HeadClass::kRetrieval), count(HeadClass::kStreaming)});
  config.head_dim = static_cast<int32_t>(c.shape.head_dim);
  config.format = c.settings.kv_format;
  config.logical_page_size = c.settings.attention.logical_page_size;
  config.page_score = c.settings.attention.page_score;
  config.stats_format = c.settings.attention.key_stats;
  config.key_stats = needs.key_stats;
  for (const int64_t context : contexts_of(c)) {
    if (count(HeadClass::kRetrieval) > 0) {
      config.num_pages[0] += ceil_div<int64_t>(context, kPageSize);
    }
    if (count(HeadClass::kStreaming) > 0) {
      config.num_pages[1] += streaming_pages(c, context, needs);
    }
  }
  return config;
}

// Writes random tokens into all layers, a part at a time.
class Filler {
 public:
  Filler(BenchMemory* memory, const ShapedCase& c) : memory_(*memory), shaped_(c) {}

  // kMemory.
  Status prepare(const HeadPattern& pattern) {
    // Each part and layer begins at another row, so that no two pages of a sequence are alike.
    const std::vector<int64_t> contexts = contexts_of(shaped_);
    rows_ = 3 * std::min(kFillTokens, *std::max_element(contexts.begin(), contexts.end()));
    ASSIGN_OR_RETURN(k_, memory_.random(rows_ * shaped_.kv_width()));
    ASSIGN_OR_RETURN(v_, memory_.random(rows_ * shaped_.kv_width()));
    const std::vector<int64_t> room(static_cast<size_t>(kFillTokens));
    for (const HeadClass of : kClasses) {
      const auto heads = pattern.heads(0, of);
      ASSIGN_OR_RETURN(kv_heads_[index_of(of)],
                       memory_.list<int32_t>({heads.begin(), heads.end()}));
      ASSIGN_OR_RETURN(slots_[index_of(of)], memory_.list(room));
    }
    return {};
  }

  // The `count` newest tokens of the sequence.
  void write(const SequencePages& pages, int64_t count, const KvCache& cache) {
    const int64_t begin = pages.kv_len() - count;
    for (const HeadClass of : kClasses) {
      if (kv_heads_[index_of(of)].empty()) continue;
      std::vector<int64_t> slots(static_cast<size_t>(count));
      pages.fill_slots(of, begin, slots);
      memory_.backend().upload(slots_[index_of(of)].data(), slots.data(),
                               slots.size() * sizeof(int64_t));
    }
    for (size_t layer = 0; layer < cache.config().num_heads.size(); ++layer) {
      const int64_t row = next_row_++ * 37 % (rows_ - count + 1);
      for (const HeadClass of : kClasses) {
        if (!kv_heads_[index_of(of)].empty()) write_layer(cache, layer, of, row, count);
      }
    }
  }

 private:
  void write_layer(const KvCache& cache, size_t layer, HeadClass of, int64_t row, int64_t count) {
    const Shape shape({count, shaped_.shape.num_kv_heads, shaped_.shape.head_dim});
    memory_.backend().write_kv({.k = TensorView(k_ + row * shaped_.kv_width(), shape),
                                .v = TensorView(v_ + row * shaped_.kv_width(), shape),
                                .kv = cache.view(static_cast<int64_t>(layer), of),
                                .kv_heads = kv_heads_[index_of(of)],
                                .slots = slots_[index_of(of)].first(static_cast<size_t>(count))});
  }

  BenchMemory& memory_;
  const ShapedCase& shaped_;
  int64_t rows_ = 0;
  int64_t next_row_ = 0;
  float* k_ = nullptr;
  float* v_ = nullptr;
  std::array<std::span<int32_t>, kNumHeadClasses> kv_heads_;
  std::array<std::span<int64_t>, kNumHeadClasses> slots_;
};

Status fill(Filler* filler, const ShapedCase& c, const KvNeeds& needs, KvSequences* kv) {
  const AttentionConfig& attention = c.settings.attention;
  for (const int64_t context : contexts_of(c)) {
    SequencePages& pages = *kv->sequences.emplace_back(std::make_unique<SequencePages>(*kv->cache));
    while (pages.kv_len() < context) {
      const int64_t count = std::min(kFillTokens, context - pages.kv_len());
      RETURN_IF_ERROR(pages.extend(count));
      filler->write(pages, count, *kv->cache);
      // The query of the last token is yet to come: it sees one token less of the window.
      if (needs.all_tokens) continue;
      pages.drop_outside_window(attention.sink_tokens, attention.local_tokens + 1);
    }
  }
  return {};
}

}  // namespace

HeadPattern pattern_of(const ShapedCase& c) {
  const int64_t heads = c.shape.num_kv_heads;
  if (!has_streaming_heads(c.settings.attention.mode)) {
    return HeadPattern::uniform(1, heads, HeadClass::kRetrieval);
  }
  std::vector<double> gates;
  for (int64_t h = 0; h < heads; ++h) gates.push_back(static_cast<double>(h % 2));
  return HeadPattern::from_gates(1, heads, gates, c.settings.streaming_fraction);
}

Result<KvSequences> make_kv_sequences(BenchMemory* memory, const ShapedCase& c,
                                      const KvNeeds& needs, double read_bytes) {
  KvSequences kv{pattern_of(c), nullptr, {}};
  KvCacheConfig config = cache_config(c, needs, kv.pattern);
  const auto layer_bytes = static_cast<double>(config.total_bytes());
  const double fill_bytes = 6.0 * kFillTokens * static_cast<double>(c.kv_width()) * sizeof(float);
  ASSIGN_OR_RETURN(const int64_t layers,
                   plan_copies(memory->backend(), {layer_bytes, read_bytes},
                               fill_bytes + needs.other_bytes, c.settings.rotated_bytes));
  config.num_heads.resize(static_cast<size_t>(layers), config.num_heads[0]);
  ASSIGN_OR_RETURN(kv.cache, KvCache::create(config, memory->backend()));
  Filler filler(memory, c);
  RETURN_IF_ERROR(filler.prepare(kv.pattern));
  RETURN_IF_ERROR(fill(&filler, c, needs, &kv));
  return kv;
}

}  // namespace lserve
