// A pool of pages with the keys and values of some sequences, made to catch a kernel that reads
// what it must not: page ids are shuffled, and every byte that belongs to no token (page tails,
// free pages, statistics of empty logical pages) is poison.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/random.h"
#include "kernels/paged_kv_view.h"
#include "support/values.h"

namespace lserve::testing {

struct PagedKvShape {
  KvFormat format = KvFormat::kBF16;
  int32_t head_dim = 64;
  int32_t num_heads = 1;
  int32_t logical_page_size = 16;
  PageScore page_score = PageScore::kMinMax;
  KeyStatsFormat stats_format = KeyStatsFormat::kBF16;
  std::vector<int32_t> kv_lens;  // tokens of each sequence
  int32_t spare_pages = 3;       // pages that nobody owns
};

enum class Poison {
  kNaN,     // all bits set: a NaN in every format, and in the scales
  kHuge,    // 0x7F7F...: 3.4e38 in f32 and bf16, NaN as f16
  kRandom,  // any bits
};

class PagedKvFixture {
 public:
  // Keys and values are drawn from `keys` and `values` and stored by quantise_kv; statistics are
  // computed from what is stored. The fixture does not use a backend.
  PagedKvFixture(PagedKvShape shape, Values keys, Values values, Random* random);
  // An empty pool, all poison, with pages for the sequences of `shape`: for tests of write_kv.
  static PagedKvFixture empty(PagedKvShape shape, Random* random);
  // The same tokens in other pages among other poison.
  PagedKvFixture relocated(Poison poison, Random* random) const;

  const PagedKvShape& shape() const { return shape_; }
  PagedKvView view();
  const std::vector<int32_t>& page_ids() const { return page_ids_; }
  // Offset of page_idx 0 of a sequence in page_ids().
  int32_t page_table(int32_t seq) const { return tables_[static_cast<size_t>(seq)]; }
  int32_t num_pages(int32_t seq) const;
  int64_t slot(int32_t seq, int32_t token) const;

  // What attention reads, [head_dim].
  std::vector<float> key(int32_t seq, int32_t head, int32_t token) const;
  std::vector<float> value(int32_t seq, int32_t head, int32_t token) const;
  // The largest number that stands for an element of the vector on the way: |s c| + |m| where there
  // are scales (rounding is relative to that, not to their sum), otherwise the largest element.
  double key_magnitude(int32_t seq, int32_t head, int32_t token) const;
  double value_magnitude(int32_t seq, int32_t head, int32_t token) const;
  // Stores a token; its statistics are not touched.
  void set(int32_t seq, int32_t head, int32_t token, std::span<const float> key,
           std::span<const float> value);
  // Fills a token's key and value (all heads) with NaN.
  void poison_token(int32_t seq, int32_t token);
  // Computes all statistics anew from the keys; those of empty logical pages stay as they are.
  void recompute_stats();
  // The bounds of channel c that the statistics hold (kMinMax), as write_kv.h defines them.
  struct Bounds {
    float min;
    float max;
  };
  Bounds bounds(int64_t page_id, int32_t head, int64_t logical_page, int32_t c);

  std::vector<std::byte>& tiles() { return tiles_; }
  std::vector<bf16>& stats() { return stats_; }

 private:
  PagedKvFixture(PagedKvShape shape, Random* random);
  void assign_pages(Random* random);
  void fill_poison(Poison poison, Random* random);
  // The least and the largest value of each channel, of the logical page that begins with `first`.
  void least_and_largest(int32_t seq, int32_t head, int32_t first, std::vector<float>* min,
                         std::vector<float>* max) const;
  // Statistics of the logical page that begins with token `first`, as write_kv.h defines them.
  void recompute_min_max(int32_t seq, int32_t head, int32_t first);
  void recompute_codes(int32_t seq, int32_t head, int32_t first);
  void recompute_mean_std(int32_t seq, int32_t head, int32_t first);
  void read(bool is_key, int32_t seq, int32_t head, int32_t token, std::span<float> out) const;
  double magnitude(bool is_key, int32_t seq, int32_t head, int32_t token) const;

  PagedKvShape shape_;
  std::vector<int32_t> page_ids_;
  std::vector<int32_t> tables_;
  int64_t num_pool_pages_ = 0;
  std::vector<std::byte> tiles_;
  std::vector<bf16> stats_;
};

// A random shape: format, head_dim, logical page size, and `num_seqs` lengths of 1 to max_len, with
// a liking for the edges of pages. Its statistics are kMinMax in bf16.
PagedKvShape random_shape(int32_t num_seqs, int32_t max_len, Random* random);
// The same with any kind of statistics, or with bounds in either format.
PagedKvShape with_any_stats(PagedKvShape shape, Random* random);
PagedKvShape with_any_bounds(PagedKvShape shape, Random* random);
int32_t random_len(int32_t max_len, Random* random);

}  // namespace lserve::testing
