// DecodeDriver: the bookkeeping of decode steps as an engine does it, with the selector and the
// gather written in the obvious way and scores out of a hash, so that tests of plans need no
// kernel.
//
// Every step returns which tokens the query heads of every (sequence, layer, KV head) read.
// Sequences are named by a key; scores depend on the key, the layer, the head, the page and the
// position only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "attention/decode_plan.h"
#include "attention/page_selection.h"
#include "attention/streaming_window.h"
#include "base/checked_math.h"
#include "base/random.h"
#include "kv_cache/kv_cache.h"
#include "support/memory_backend.h"

namespace lserve::testing {

// Half of all values are ties, and most are negative, as real scores may be.
inline float hashed_score(uint64_t key, int64_t layer, int32_t first_q_head, int64_t page_idx,
                          int64_t position) {
  uint64_t mixed = key;
  for (const int64_t value : {layer, int64_t{first_q_head}, page_idx, position}) {
    mixed = Random(mixed * 31 + static_cast<uint64_t>(value)).next();
  }
  return static_cast<float>(mixed % 8) - 7.0F;
}

// The pages kept, written as system.md 2.3 says it: not how a kernel would do it.
inline std::vector<int32_t> select_by_sorting(const std::vector<float>& scores, int32_t budget,
                                              int32_t num_sink_pages) {
  const auto num_pages = static_cast<int32_t>(scores.size());
  std::vector<int32_t> kept;
  std::vector<int32_t> others;
  for (int32_t page = 0; page < num_pages; ++page) {
    (page < num_sink_pages || page >= num_pages - 2 ? kept : others).push_back(page);
  }
  std::stable_sort(others.begin(), others.end(), [&](int32_t a, int32_t b) {
    return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)];
  });
  for (size_t i = 0; static_cast<int32_t>(kept.size()) < budget; ++i) kept.push_back(others[i]);
  std::sort(kept.begin(), kept.end());
  return kept;
}

struct HeadRead {
  uint64_t key = 0;
  int64_t layer = 0;
  int32_t kv_head = 0;
  int32_t first_q_head = 0;
  int32_t num_q_heads = 0;
  int64_t position = 0;
  HeadClass head_class = HeadClass::kRetrieval;
  bool refreshed = false;
  std::vector<TokenRange> tokens;  // positions, ascending; neighbours merged
  std::vector<PageSpan> spans;

  bool operator==(const HeadRead&) const = default;
  bool reads(int64_t begin, int64_t end) const {
    return std::any_of(tokens.begin(), tokens.end(), [&](const TokenRange& range) {
      return range.begin <= begin && end <= range.end;
    });
  }
};

class DecodeDriver {
 public:
  static constexpr int32_t kGroup = 3;  // query heads of a KV head

  DecodeDriver(const HeadPattern& pattern, const AttentionConfig& config)
      : pattern_(pattern), config_(config), num_lists_(config.lists_per_kv_head(kGroup)) {
    KvCacheConfig cache;
    for (int64_t layer = 0; layer < pattern.num_layers(); ++layer) {
      cache.num_heads.push_back(
          {static_cast<int32_t>(pattern.heads(layer, HeadClass::kRetrieval).size()),
           static_cast<int32_t>(pattern.heads(layer, HeadClass::kStreaming).size())});
    }
    cache.head_dim = 64;
    cache.key_stats = has_page_selection(config.mode);
    cache.num_pages = {kPoolPages, kPoolPages};
    cache_ = KvCache::create(cache, backend_).value();
  }

  // A sequence whose prompt is already in the cache.
  void add(uint64_t key, int64_t prompt_len) {
    const auto first_row = static_cast<int32_t>(selected_.size());
    auto sequence = std::make_unique<Sequence>(key, *cache_, pattern_, first_row, num_lists_);
    CHECK(sequence->pages.extend(prompt_len).ok());
    sequence->pages.drop_outside_window(config_.sink_tokens, config_.local_tokens);
    selected_.resize(selected_.size() +
                     static_cast<size_t>(PageSelection::num_rows(pattern_, num_lists_)));
    sequences_.push_back(std::move(sequence));
  }
  void remove(uint64_t key) {
    std::erase_if(sequences_, [&](const auto& sequence) { return sequence->key == key; });
  }

  // One token more for every sequence.
  std::vector<HeadRead> step() {
    batch_.clear();
    for (const auto& sequence : sequences_) {
      CHECK(sequence->pages.extend(1).ok());
      batch_.add(sequence->pages, 1, &sequence->selection);
    }
    std::vector<HeadRead> reads;
    for (int64_t layer = 0; layer < pattern_.num_layers(); ++layer) {
      plan_decode(batch_, pattern_, layer, config_, kGroup, &plan_);
      pages_read_ += plan_.pages_read;
      pages_held_ += plan_.pages_held;
      run_selector(layer);
      run_gather();
      for (const DecodeWork& work : plan_.work) reads.push_back(read_of(work, layer));
    }
    for (const auto& sequence : sequences_) {
      sequence->pages.drop_outside_window(config_.sink_tokens, config_.local_tokens);
    }
    for (const HeadClass c : {HeadClass::kRetrieval, HeadClass::kStreaming}) {
      cache_->pool(c).check_integrity();
    }
    return reads;
  }

  const DecodePlan& last_plan() const { return plan_; }
  int64_t pages_read() const { return pages_read_; }
  int64_t pages_held() const { return pages_held_; }
  KvCache& cache() { return *cache_; }

 private:
  static constexpr int64_t kPoolPages = 400;
  struct Sequence {
    Sequence(uint64_t name, KvCache& cache, const HeadPattern& pattern, int32_t first_row,
             int32_t num_lists)
        : key(name), pages(cache), selection(pattern, first_row, num_lists) {}
    uint64_t key;
    SequencePages pages;
    PageSelection selection;
  };

  void run_selector(int64_t layer) {
    for (size_t i = 0; i < plan_.score.size(); ++i) {
      const PageScoreWork& work = plan_.score[i];
      std::vector<float> scores;
      for (int32_t page = 0; page < plan_.select_num_pages[i]; ++page) {
        scores.push_back(
            hashed_score(key_of(work.seq_idx), layer, work.first_q_head, page, work.kv_len - 1));
      }
      selected_[static_cast<size_t>(plan_.select_rows[i])] =
          select_by_sorting(scores, config_.budget_pages(), config_.num_sink_pages());
    }
  }

  void run_gather() {
    const std::vector<int32_t>& page_ids = batch_.page_ids[index_of(HeadClass::kRetrieval)];
    for (const GatherSpansWork& work : plan_.gather) {
      const int32_t num_pages = ceil_div(work.kv_len, int32_t{kPageSize});
      std::vector<int32_t> pages = selected_[static_cast<size_t>(work.row)];
      for (int32_t page = work.selected_pages; page < num_pages; ++page) pages.push_back(page);
      CHECK_EQ(static_cast<int32_t>(pages.size()),
               num_gathered_spans(config_.budget_pages(), work));
      for (size_t i = 0; i < pages.size(); ++i) {
        PageSpan& span = plan_.spans.at(static_cast<size_t>(work.first_span) + i);
        CHECK_EQ(span.end, 0);  // reserved, and for nobody else
        const int32_t end = std::min(kPageSize, work.kv_len - pages[i] * kPageSize);
        span = {page_ids.at(static_cast<size_t>(work.page_table + pages[i])), 0,
                static_cast<int16_t>(end)};
      }
    }
  }

  uint64_t key_of(int32_t seq_idx) const { return sequences_[static_cast<size_t>(seq_idx)]->key; }

  HeadRead read_of(const DecodeWork& work, int64_t layer) const {
    const Sequence& sequence = *sequences_[static_cast<size_t>(work.seq_idx)];
    HeadRead read;
    read.key = sequence.key;
    read.layer = layer;
    read.kv_head = work.first_q_head / kGroup;
    read.first_q_head = work.first_q_head;
    read.num_q_heads = work.num_q_heads;
    read.position = sequence.pages.kv_len() - 1;
    read.head_class = static_cast<HeadClass>(work.pool);
    CHECK_EQ(pattern_.heads(layer, read.head_class)[static_cast<size_t>(work.head)], read.kv_head);
    CHECK_LE(work.first_q_head + work.num_q_heads, (read.kv_head + 1) * kGroup);
    for (const PageScoreWork& score : plan_.score) {
      if (score.seq_idx != work.seq_idx || score.first_q_head != work.first_q_head) continue;
      CHECK_EQ(score.num_q_heads, work.num_q_heads);
      read.refreshed = true;
    }
    const std::span<const int32_t> ids = sequence.pages.table(read.head_class).ids();
    for (int32_t i = 0; i < work.num_spans; ++i) {
      const PageSpan& span = plan_.spans.at(static_cast<size_t>(work.first_span + i));
      CHECK_LT(span.begin, span.end);
      const auto place = std::find(ids.begin(), ids.end(), span.page_id);
      CHECK(place != ids.end());
      const int64_t page_begin = (place - ids.begin()) * kPageSize;
      read.spans.push_back(span);
      add_tokens({page_begin + span.begin, page_begin + span.end}, &read.tokens);
    }
    return read;
  }

  static void add_tokens(TokenRange range, std::vector<TokenRange>* tokens) {
    if (tokens->empty() || tokens->back().end != range.begin) {
      CHECK(tokens->empty() || tokens->back().end < range.begin);  // ascending, each token once
      tokens->push_back(range);
    } else {
      tokens->back().end = range.end;
    }
  }

  HeadPattern pattern_;
  AttentionConfig config_;
  int32_t num_lists_;
  MemoryBackend backend_;
  std::unique_ptr<KvCache> cache_;
  std::vector<std::unique_ptr<Sequence>> sequences_;
  std::vector<std::vector<int32_t>> selected_;  // [rows of all sequences]
  BatchView batch_;
  DecodePlan plan_;
  int64_t pages_read_ = 0;
  int64_t pages_held_ = 0;
};

}  // namespace lserve::testing
