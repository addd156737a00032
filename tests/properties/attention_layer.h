// AttentionLayer: one layer's attention as the model runs it (write_kv, plan, selector, attention,
// dropping pages), for any number of sequences at once, with queries, keys and values that the test
// gives in place of projections. So properties of the whole path from slots to outputs can be
// tested over many cases, and for batches, which the engine does not make yet.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include "attention/batch_view.h"
#include "attention/decode_plan.h"
#include "attention/page_selection.h"
#include "attention/prefill_plan.h"
#include "kv_cache/kv_cache.h"
#include "support/attention_runner.h"
#include "support/values.h"

namespace lserve::testing {

// What the projections of a layer would give for one sequence.
struct TokenStream {
  std::vector<float> q;  // [tokens, num_q_heads, head_dim]
  std::vector<float> k;  // [tokens, num_kv_heads, head_dim]
  std::vector<float> v;
};

struct LayerShape {
  HeadPattern pattern = HeadPattern::uniform(1, 2, HeadClass::kRetrieval);  // of one layer
  AttentionConfig attention;
  KvFormat format = KvFormat::kBF16;
  int32_t head_dim = 64;
  int32_t group = 2;  // query heads of a KV head
  int64_t pool_pages = 48;

  int64_t num_kv_heads() const { return pattern.num_kv_heads(); }
  int64_t num_q_heads() const { return num_kv_heads() * group; }
  int64_t q_width() const { return num_q_heads() * head_dim; }
  int64_t kv_width() const { return num_kv_heads() * head_dim; }
  float softmax_scale() const { return 1.0F / std::sqrt(static_cast<float>(head_dim)); }
};

inline TokenStream random_stream(const LayerShape& shape, int64_t tokens, Values values,
                                 Random* random) {
  return {make(values, tokens * shape.q_width(), shape.head_dim, random),
          make(values, tokens * shape.kv_width(), shape.head_dim, random),
          make(values, tokens * shape.kv_width(), shape.head_dim, random)};
}

class AttentionLayer {
 public:
  struct Part {
    uint64_t key;  // of a sequence
    int64_t tokens;
  };

  AttentionLayer(Backend* backend, const LayerShape& shape) : backend_(*backend), shape_(shape) {
    KvCacheConfig config;
    config.format = shape.format;
    config.num_heads = {{num_heads(HeadClass::kRetrieval), num_heads(HeadClass::kStreaming)}};
    config.head_dim = shape.head_dim;
    config.logical_page_size = shape.attention.logical_page_size;
    config.page_score = shape.attention.page_score;
    config.stats_format = shape.attention.key_stats;
    config.key_stats = has_page_selection(shape.attention.mode);
    config.num_pages = {shape.pool_pages, shape.pool_pages};
    cache_ = KvCache::create(config, backend_).value();
  }

  // The stream must outlive the sequence.
  void add(uint64_t key, const TokenStream* stream) {
    const int32_t lists = shape_.attention.lists_per_kv_head(shape_.group);
    sequences_[key] = std::make_unique<Sequence>(*cache_, shape_.pattern, next_row_, lists, stream);
    next_row_ += PageSelection::num_rows(shape_.pattern, lists);
    selected_.resize(static_cast<size_t>(next_row_ * shape_.attention.budget_pages()), -1);
  }
  void remove(uint64_t key) { sequences_.erase(key); }

  // A step of prompt chunks. Without `attend` keys and values are stored and nothing is computed:
  // the cheap way to a long context.
  void prefill(const std::vector<Part>& parts, bool attend = true) {
    begin_step(parts, /*is_decode=*/false);
    if (attend) run_prefill();
    for (const Part& part : parts) at(part.key).selection.clear();
    end_step(parts, attend);
  }
  // A step of one token for each.
  void decode(const std::vector<uint64_t>& keys) {
    std::vector<Part> parts;
    for (const uint64_t key : keys) parts.push_back({key, 1});
    begin_step(parts, /*is_decode=*/true);
    run_decode();
    end_step(parts, /*attended=*/true);
  }

  // Outputs of a sequence's attended tokens, in order: [tokens, num_q_heads, head_dim].
  const std::vector<float>& out(uint64_t key) const { return sequences_.at(key)->out; }
  int64_t kv_len(uint64_t key) const { return sequences_.at(key)->pages.kv_len(); }
  void forget_selection(uint64_t key) { at(key).selection.clear(); }
  const DecodePlan& last_decode_plan() const { return decode_plan_; }
  int64_t refreshes() const { return refreshes_; }
  KvCache& cache() { return *cache_; }

  // Fills all memory of pages and statistics with a byte: 0xFF is a NaN in every format.
  void fill_memory(int byte) {
    for (const PagedKvView& view : cache_->views(0)) {
      if (view.num_heads == 0) continue;
      const auto pages = static_cast<size_t>(view.num_pages);
      std::memset(view.tiles, byte, pages * static_cast<size_t>(view.page_bytes()));
      if (view.key_stats == nullptr) continue;
      std::memset(view.key_stats, byte,
                  pages * static_cast<size_t>(view.num_heads * view.stats_elements()) * 2);
    }
  }
  // What a sequence's pages of a class hold: codes, scales and statistics of its tokens. The rest
  // of the last page is left out.
  std::vector<std::byte> contents(uint64_t key, HeadClass c) const;

 private:
  struct Sequence {
    Sequence(KvCache& cache, const HeadPattern& pattern, int32_t first_row, int32_t lists,
             const TokenStream* s)
        : pages(cache), selection(pattern, first_row, lists), stream(s) {}
    SequencePages pages;
    PageSelection selection;
    const TokenStream* stream;
    std::vector<float> out;
  };

  Sequence& at(uint64_t key) { return *sequences_.at(key); }
  int32_t num_heads(HeadClass c) const {
    return static_cast<int32_t>(shape_.pattern.heads(0, c).size());
  }
  TensorView by_head(std::vector<float>& x, int64_t heads) const {
    const auto width = heads * shape_.head_dim;
    return TensorView(x.data(),
                      {static_cast<int64_t>(x.size()) / width, heads, int64_t{shape_.head_dim}});
  }

  void begin_step(const std::vector<Part>& parts, bool is_decode) {
    batch_.clear();
    q_.clear();
    std::vector<float> k;
    std::vector<float> v;
    std::array<std::vector<int64_t>, kNumHeadClasses> slots;
    for (const Part& part : parts) {
      Sequence& sequence = at(part.key);
      const int64_t begin = sequence.pages.kv_len();
      CHECK(sequence.pages.extend(part.tokens).ok());
      batch_.add(sequence.pages, static_cast<int32_t>(part.tokens),
                 is_decode ? &sequence.selection : nullptr);
      const auto append = [&](const std::vector<float>& from, int64_t width, auto* to) {
        to->insert(to->end(), from.begin() + begin * width,
                   from.begin() + (begin + part.tokens) * width);
      };
      append(sequence.stream->q, shape_.q_width(), &q_);
      append(sequence.stream->k, shape_.kv_width(), &k);
      append(sequence.stream->v, shape_.kv_width(), &v);
      for (const HeadClass c : {HeadClass::kRetrieval, HeadClass::kStreaming}) {
        if (num_heads(c) == 0) continue;
        auto& of_class = slots[index_of(c)];
        of_class.resize(of_class.size() + static_cast<size_t>(part.tokens));
        sequence.pages.fill_slots(c, begin,
                                  std::span(of_class).last(static_cast<size_t>(part.tokens)));
      }
    }
    for (const HeadClass c : {HeadClass::kRetrieval, HeadClass::kStreaming}) {
      if (num_heads(c) == 0) continue;
      backend_.write_kv({.k = by_head(k, shape_.num_kv_heads()),
                         .v = by_head(v, shape_.num_kv_heads()),
                         .kv = cache_->view(0, c),
                         .kv_heads = shape_.pattern.heads(0, c),
                         .slots = slots[index_of(c)]});
    }
    out_.assign(q_.size(), std::nanf(""));
  }

  void run_prefill() {
    plan_prefill(batch_, shape_.pattern, 0, shape_.attention, &prefill_plan_);
    const auto pools = cache_->views(0);
    const auto tables = batch_.tables();
    backend_.prefill_attention({.q = by_head(q_, shape_.num_q_heads()),
                                .out = by_head(out_, shape_.num_q_heads()),
                                .pools = pools,
                                .page_tables = tables,
                                .work = prefill_plan_.work,
                                .ranges = prefill_plan_.ranges,
                                .gqa_group_size = shape_.group,
                                .softmax_scale = shape_.softmax_scale()});
  }

  void run_decode() {
    plan_decode(batch_, shape_.pattern, 0, shape_.attention, shape_.group, &decode_plan_);
    const auto pools = cache_->views(0);
    const auto& page_ids = batch_.page_ids[index_of(HeadClass::kRetrieval)];
    const int64_t budget = shape_.attention.budget_pages();
    const TensorView selected(selected_.data(), {next_row_, budget});
    const auto items = static_cast<int64_t>(decode_plan_.score.size());
    refreshes_ += items;
    if (items > 0) {
      std::vector<float> memory(static_cast<size_t>(items * shape_.pool_pages), std::nanf(""));
      const TensorView scores(memory.data(), {items, shape_.pool_pages});
      backend_.page_scores({.q = by_head(q_, shape_.num_q_heads()),
                            .kv = pools[index_of(HeadClass::kRetrieval)],
                            .page_ids = page_ids,
                            .work = decode_plan_.score,
                            .mean = shape_.attention.selector_group == SelectorGroup::kMean,
                            .scores = scores});
      backend_.select_pages({.scores = scores,
                             .num_pages = decode_plan_.select_num_pages,
                             .rows = decode_plan_.select_rows,
                             .budget = shape_.attention.budget_pages(),
                             .num_sink_pages = shape_.attention.num_sink_pages(),
                             .selected = selected});
      backend_.synchronize();
    }
    if (!decode_plan_.gather.empty()) {
      backend_.gather_spans({selected, page_ids, decode_plan_.gather, decode_plan_.spans});
    }
    backend_.decode_attention({.q = by_head(q_, shape_.num_q_heads()),
                               .out = by_head(out_, shape_.num_q_heads()),
                               .pools = pools,
                               .work = decode_plan_.work,
                               .spans = decode_plan_.spans,
                               .softmax_scale = shape_.softmax_scale()});
  }

  void end_step(const std::vector<Part>& parts, bool attended) {
    backend_.synchronize();
    auto next = out_.begin();
    const AttentionConfig& attention = shape_.attention;
    for (const Part& part : parts) {
      const auto end = next + part.tokens * shape_.q_width();
      Sequence& sequence = at(part.key);
      if (attended) sequence.out.insert(sequence.out.end(), next, end);
      next = end;
      sequence.pages.drop_outside_window(
          attention.sink_tokens, std::max(attention.local_tokens, attention.prefill_local_tokens));
    }
    for (const HeadClass c : {HeadClass::kRetrieval, HeadClass::kStreaming}) {
      cache_->pool(c).check_integrity();
    }
  }

  Backend& backend_;
  LayerShape shape_;
  std::unique_ptr<KvCache> cache_;
  std::map<uint64_t, std::unique_ptr<Sequence>> sequences_;
  int32_t next_row_ = 0;
  std::vector<int32_t> selected_;  // [next_row_, budget]
  BatchView batch_;
  PrefillPlan prefill_plan_;
  DecodePlan decode_plan_;
  int64_t refreshes_ = 0;
  std::vector<float> q_;
  std::vector<float> out_;
};

inline std::vector<std::byte> AttentionLayer::contents(uint64_t key, HeadClass c) const {
  std::vector<std::byte> bytes;
  if (num_heads(c) == 0) return bytes;
  const Sequence& sequence = *sequences_.at(key);
  const PagedKvView view = cache_->view(0, c);
  const auto append = [&](const void* from, int64_t size) {
    const auto* begin = static_cast<const std::byte*>(from);
    bytes.insert(bytes.end(), begin, begin + size);
  };
  const std::span<const int32_t> ids = sequence.pages.table(c).ids();
  for (size_t page = 0; page < ids.size(); ++page) {
    if (ids[page] == kNoPage) continue;
    const int64_t tokens =
        std::min<int64_t>(kPageSize, kv_len(key) - static_cast<int64_t>(page) * kPageSize);
    for (int64_t h = 0; h < view.num_heads; ++h) {
      append(view.k_codes(ids[page], h), tokens * view.vector_bytes());
      append(view.v_codes(ids[page], h), tokens * view.vector_bytes());
      if (has_scales(view.format)) {
        append(view.k_scales(ids[page], h), tokens * int64_t{sizeof(KvScale)});
        append(view.v_scales(ids[page], h), tokens * int64_t{sizeof(KvScale)});
      }
      if (view.key_stats == nullptr || view.page_score != PageScore::kMinMax) continue;
      const int64_t logical = (tokens + view.logical_page_size - 1) / view.logical_page_size;
      if (view.stats_format == KeyStatsFormat::kBF16) {
        append(view.stats(ids[page], h), logical * 2 * view.head_dim * int64_t{sizeof(bf16)});
        continue;
      }
      for (int64_t j = 0; j < logical; ++j) {
        append(view.bound_codes(ids[page], h, j),
               2 * view.head_dim + view.head_dim / kBoundsChannels);
      }
    }
  }
  return bytes;
}

}  // namespace lserve::testing
