// PagedKvView: where the keys and values of one layer and one pool lie. The one bridge between the
// bookkeeping of pages (kv_cache/ fills it) and the kernels (which read it); neither knows the
// other.
//
// A page holds kPageSize consecutive tokens of one sequence for the `num_heads` KV heads of one
// class (retrieval or streaming) in this layer. Keys are stored after RoPE. What lies beyond a
// sequence's last token is undefined (tests fill it with NaN): kernels select, they never multiply
// by zero.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/key_bounds.h"
#include "quant/kv_format.h"
#include "tensor/dtype.h"

namespace lserve {

inline constexpr int kPageSize = 64;  // tokens of a physical page

// How the selector rates a page, and so which statistics of a logical page's keys it keeps:
//   kMinMax   the least and the largest value of each channel (paper)
//   kMeanStd  the mean of each channel, and one spread around it (arXiv 2605.27740)
// write_kv.h says exactly what is stored, page_scores.h what is made of it.
enum class PageScore { kMinMax, kMeanStd };

// Tokens [begin, end) of one page, to be attended.
struct PageSpan {
  int32_t page_id;
  int16_t begin;
  int16_t end;
  bool operator==(const PageSpan&) const = default;
};

struct PagedKvView {
  std::byte* tiles =
      nullptr;  // [num_pages][num_heads] tiles of tile_bytes() each:
                //   K codes [64][head_dim] | V codes [64][head_dim]
                //   | K scales [64] | V scales [64]   (scales: quantised formats only)
  bf16* key_stats = nullptr;  // [num_pages][num_heads] blocks of stats_elements() each, or null:
                              //   kMinMax: [logical pages][2: min, max][head_dim]
                              //   kMinMax, kInt8: bytes, [logical pages] times
                              //     codes [head_dim / 8][2: min, max][8]
                              //     | units [head_dim / 8] | padding to 16 bytes
                              //   then padding to a cache line
                              //   kMeanStd: means [logical pages][head_dim]
                              //   | spreads [logical pages] | padding
  KvFormat format = KvFormat::kBF16;
  PageScore page_score = PageScore::kMinMax;
  KeyStatsFormat stats_format = KeyStatsFormat::kBF16;  // kInt8: of kMinMax only
  int64_t num_pages = 0;
  int32_t num_heads = 0;  // of this class in this layer
  int32_t head_dim = 0;
  int32_t logical_page_size = 16;  // tokens; divides kPageSize

  int64_t vector_bytes() const { return kv_vector_bytes(format, head_dim); }
  int64_t codes_bytes() const { return kPageSize * vector_bytes(); }
  int64_t tile_bytes() const {
    const int64_t scales = has_scales(format) ? 2 * kPageSize * int64_t{sizeof(KvScale)} : 0;
    return 2 * codes_bytes() + scales;
  }
  int64_t page_bytes() const { return num_heads * tile_bytes(); }

  std::byte* tile(int64_t page_id, int64_t head) const {
    return tiles + page_id * page_bytes() + head * tile_bytes();
  }
  // Codes of token `offset` of the page.
  std::byte* k_codes(int64_t page_id, int64_t head, int64_t offset = 0) const {
    return tile(page_id, head) + offset * vector_bytes();
  }
  std::byte* v_codes(int64_t page_id, int64_t head, int64_t offset = 0) const {
    return tile(page_id, head) + codes_bytes() + offset * vector_bytes();
  }
  // [64] scales. REQUIRES: has_scales(format).
  KvScale* k_scales(int64_t page_id, int64_t head) const {
    return reinterpret_cast<KvScale*>(tile(page_id, head) + 2 * codes_bytes());
  }
  KvScale* v_scales(int64_t page_id, int64_t head) const {
    return k_scales(page_id, head) + kPageSize;
  }

  int32_t logical_pages() const { return kPageSize / logical_page_size; }
  // Elements of the statistics of one (page, head), of 2 bytes whatever is kept in them. They fill
  // whole cache lines, so that no vector of the next head's begins inside one.
  int64_t stats_elements() const {
    constexpr int64_t kLine = 64 / sizeof(bf16);
    int64_t elements = int64_t{2} * logical_pages() * head_dim;
    if (page_score == PageScore::kMeanStd) elements = int64_t{logical_pages()} * (head_dim + 1);
    if (stats_format == KeyStatsFormat::kInt8) elements = logical_pages() * codes_block_bytes() / 2;
    return (elements + kLine - 1) / kLine * kLine;
  }
  bf16* stats(int64_t page_id, int64_t head) const {
    return key_stats + (page_id * num_heads + head) * stats_elements();
  }
  // Of one logical page; its maxima follow. REQUIRES: kMinMax, kBF16.
  bf16* key_min(int64_t page_id, int64_t head, int64_t logical_page) const {
    return stats(page_id, head) + logical_page * 2 * head_dim;
  }
  // The codes and the units of a logical page, and the bytes of both. REQUIRES: kInt8.
  int64_t codes_block_bytes() const {
    return (2 * head_dim + head_dim / kBoundsChannels + 15) / 16 * 16;
  }
  int8_t* bound_codes(int64_t page_id, int64_t head, int64_t logical_page) const {
    return reinterpret_cast<int8_t*>(stats(page_id, head)) + logical_page * codes_block_bytes();
  }
  uint8_t* bound_units(int64_t page_id, int64_t head, int64_t logical_page) const {
    return reinterpret_cast<uint8_t*>(bound_codes(page_id, head, logical_page)) + 2 * head_dim;
  }
  // REQUIRES: kMeanStd.
  bf16* key_mean(int64_t page_id, int64_t head, int64_t logical_page) const {
    return stats(page_id, head) + logical_page * head_dim;
  }
  bf16* key_spread(int64_t page_id, int64_t head, int64_t logical_page) const {
    return stats(page_id, head) + int64_t{logical_pages()} * head_dim + logical_page;
  }
};

}  // namespace lserve
