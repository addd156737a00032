// See paged_kv_fixture.h.
#include "support/paged_kv_fixture.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>
#include <numeric>

#include "base/check.h"
#include "base/checked_math.h"

namespace lserve::testing {

PagedKvFixture::PagedKvFixture(PagedKvShape shape, Random* random) : shape_(std::move(shape)) {
  for (const int32_t len : shape_.kv_lens) num_pool_pages_ += ceil_div(len, kPageSize);
  num_pool_pages_ += shape_.spare_pages;
  assign_pages(random);
  const PagedKvView kv = view();
  tiles_.resize(static_cast<size_t>(num_pool_pages_ * kv.page_bytes()));
  stats_.resize(static_cast<size_t>(num_pool_pages_ * kv.num_heads * kv.stats_elements()));
  fill_poison(Poison::kNaN, random);
}

PagedKvFixture PagedKvFixture::empty(PagedKvShape shape, Random* random) {
  return PagedKvFixture(std::move(shape), random);
}

PagedKvFixture::PagedKvFixture(PagedKvShape shape, Values keys, Values values, Random* random)
    : PagedKvFixture(std::move(shape), random) {
  const int64_t head_dim = shape_.head_dim;
  for (size_t seq = 0; seq < shape_.kv_lens.size(); ++seq) {
    const int32_t len = shape_.kv_lens[seq];
    for (int32_t head = 0; head < shape_.num_heads; ++head) {
      const auto k = make(keys, len * head_dim, head_dim, random);
      const auto v = make(values, len * head_dim, head_dim, random);
      for (int32_t t = 0; t < len; ++t) {
        const auto row = [&](const std::vector<float>& x) {
          return std::span(x).subspan(static_cast<size_t>(t * head_dim),
                                      static_cast<size_t>(head_dim));
        };
        set(static_cast<int32_t>(seq), head, t, row(k), row(v));
      }
    }
  }
  recompute_stats();
}

void PagedKvFixture::assign_pages(Random* random) {
  page_ids_.resize(static_cast<size_t>(num_pool_pages_));
  std::iota(page_ids_.begin(), page_ids_.end(), 0);
  for (size_t i = page_ids_.size(); i > 1; --i) {
    const auto other = static_cast<size_t>(random->integer(0, static_cast<int64_t>(i) - 1));
    std::swap(page_ids_[i - 1], page_ids_[other]);
  }
  page_ids_.resize(static_cast<size_t>(num_pool_pages_ - shape_.spare_pages));
  tables_.clear();
  int32_t next = 0;
  for (const int32_t len : shape_.kv_lens) {
    tables_.push_back(next);
    next += ceil_div(len, kPageSize);
  }
}

void PagedKvFixture::fill_poison(Poison poison, Random* random) {
  const auto fill = [&](std::span<std::byte> bytes) {
    if (poison == Poison::kNaN) std::memset(bytes.data(), 0xFF, bytes.size());
    if (poison == Poison::kHuge) std::memset(bytes.data(), 0x7F, bytes.size());
    if (poison != Poison::kRandom) return;
    for (size_t i = 0; i < bytes.size(); i += sizeof(uint64_t)) {
      const uint64_t word = random->next();
      std::memcpy(bytes.data() + i, &word, std::min(sizeof(word), bytes.size() - i));
    }
  };
  fill(tiles_);
  fill(std::as_writable_bytes(std::span(stats_)));
}

PagedKvFixture PagedKvFixture::relocated(Poison poison, Random* random) const {
  PagedKvFixture copy(*this);
  copy.assign_pages(random);
  copy.fill_poison(poison, random);
  for (size_t seq = 0; seq < shape_.kv_lens.size(); ++seq) {
    const auto s = static_cast<int32_t>(seq);
    for (int32_t t = 0; t < shape_.kv_lens[seq]; ++t) {
      const int64_t from = slot(s, t);
      const int64_t to = copy.slot(s, t);
      PagedKvView source = const_cast<PagedKvFixture*>(this)->view();
      PagedKvView target = copy.view();
      for (int32_t h = 0; h < shape_.num_heads; ++h) {
        const auto move = [&](auto codes) {
          std::copy_n((source.*codes)(from / kPageSize, h, from % kPageSize), source.vector_bytes(),
                      (target.*codes)(to / kPageSize, h, to % kPageSize));
        };
        move(&PagedKvView::k_codes);
        move(&PagedKvView::v_codes);
        if (!has_scales(shape_.format)) continue;
        target.k_scales(to / kPageSize, h)[to % kPageSize] =
            source.k_scales(from / kPageSize, h)[from % kPageSize];
        target.v_scales(to / kPageSize, h)[to % kPageSize] =
            source.v_scales(from / kPageSize, h)[from % kPageSize];
      }
    }
  }
  copy.recompute_stats();
  return copy;
}

PagedKvView PagedKvFixture::view() {
  PagedKvView kv;
  kv.tiles = tiles_.data();
  kv.key_stats = stats_.data();
  kv.format = shape_.format;
  kv.num_pages = num_pool_pages_;
  kv.num_heads = shape_.num_heads;
  kv.head_dim = shape_.head_dim;
  kv.logical_page_size = shape_.logical_page_size;
  kv.page_score = shape_.page_score;
  kv.stats_format = shape_.stats_format;
  return kv;
}

int32_t PagedKvFixture::num_pages(int32_t seq) const {
  return ceil_div(shape_.kv_lens[static_cast<size_t>(seq)], kPageSize);
}

int64_t PagedKvFixture::slot(int32_t seq, int32_t token) const {
  const int32_t page = page_ids_[static_cast<size_t>(page_table(seq) + token / kPageSize)];
  return int64_t{page} * kPageSize + token % kPageSize;
}

void PagedKvFixture::read(bool is_key, int32_t seq, int32_t head, int32_t token,
                          std::span<float> out) const {
  const PagedKvView kv = const_cast<PagedKvFixture*>(this)->view();
  const int64_t page = slot(seq, token) / kPageSize;
  const int64_t offset = token % kPageSize;
  const KvScale* scale = nullptr;
  if (has_scales(shape_.format)) {
    scale = (is_key ? kv.k_scales(page, head) : kv.v_scales(page, head)) + offset;
  }
  dequantise_kv(shape_.format,
                is_key ? kv.k_codes(page, head, offset) : kv.v_codes(page, head, offset), scale,
                out);
}

std::vector<float> PagedKvFixture::key(int32_t seq, int32_t head, int32_t token) const {
  std::vector<float> out(static_cast<size_t>(shape_.head_dim));
  read(true, seq, head, token, out);
  return out;
}
std::vector<float> PagedKvFixture::value(int32_t seq, int32_t head, int32_t token) const {
  std::vector<float> out(static_cast<size_t>(shape_.head_dim));
  read(false, seq, head, token, out);
  return out;
}

double PagedKvFixture::magnitude(bool is_key, int32_t seq, int32_t head, int32_t token) const {
  if (has_scales(shape_.format)) {
    const PagedKvView kv = const_cast<PagedKvFixture*>(this)->view();
    const int64_t page = slot(seq, token) / kPageSize;
    const KvScale& scale =
        (is_key ? kv.k_scales(page, head) : kv.v_scales(page, head))[token % kPageSize];
    return largest_code(shape_.format) * static_cast<double>(to_float(scale.scale)) +
           std::abs(to_float(scale.min));
  }
  double max = 0;
  for (const float x : is_key ? key(seq, head, token) : value(seq, head, token)) {
    max = std::max(max, std::abs(static_cast<double>(x)));
  }
  return max;
}
double PagedKvFixture::key_magnitude(int32_t seq, int32_t head, int32_t token) const {
  return magnitude(true, seq, head, token);
}
double PagedKvFixture::value_magnitude(int32_t seq, int32_t head, int32_t token) const {
  return magnitude(false, seq, head, token);
}

void PagedKvFixture::set(int32_t seq, int32_t head, int32_t token, std::span<const float> key,
                         std::span<const float> value) {
  const PagedKvView kv = view();
  const int64_t page = slot(seq, token) / kPageSize;
  const int64_t offset = token % kPageSize;
  const bool scaled = has_scales(shape_.format);
  quantise_kv(shape_.format, key, kv.k_codes(page, head, offset),
              scaled ? kv.k_scales(page, head) + offset : nullptr);
  quantise_kv(shape_.format, value, kv.v_codes(page, head, offset),
              scaled ? kv.v_scales(page, head) + offset : nullptr);
}

void PagedKvFixture::poison_token(int32_t seq, int32_t token) {
  const std::vector<float> nan(static_cast<size_t>(shape_.head_dim),
                               std::numeric_limits<float>::quiet_NaN());
  for (int32_t h = 0; h < shape_.num_heads; ++h) set(seq, h, token, nan, nan);
}

void PagedKvFixture::recompute_stats() {
  for (size_t seq = 0; seq < shape_.kv_lens.size(); ++seq) {
    const auto s = static_cast<int32_t>(seq);
    for (int32_t h = 0; h < shape_.num_heads; ++h) {
      for (int32_t first = 0; first < shape_.kv_lens[seq]; first += shape_.logical_page_size) {
        if (shape_.stats_format == KeyStatsFormat::kInt8) {
          recompute_codes(s, h, first);
        } else if (shape_.page_score == PageScore::kMinMax) {
          recompute_min_max(s, h, first);
        } else {
          recompute_mean_std(s, h, first);
        }
      }
    }
  }
}

void PagedKvFixture::least_and_largest(int32_t seq, int32_t head, int32_t first,
                                       std::vector<float>* min, std::vector<float>* max) const {
  const auto head_dim = static_cast<size_t>(shape_.head_dim);
  const int32_t end =
      std::min(shape_.kv_lens[static_cast<size_t>(seq)], first + shape_.logical_page_size);
  min->assign(head_dim, std::numeric_limits<float>::infinity());
  max->assign(head_dim, -std::numeric_limits<float>::infinity());
  for (int32_t t = first; t < end; ++t) {
    const std::vector<float> x = key(seq, head, t);
    for (size_t c = 0; c < head_dim; ++c) {
      (*min)[c] = x[c] < (*min)[c] ? x[c] : (*min)[c];
      (*max)[c] = x[c] > (*max)[c] ? x[c] : (*max)[c];
    }
  }
}

void PagedKvFixture::recompute_min_max(int32_t seq, int32_t head, int32_t first) {
  std::vector<float> min;
  std::vector<float> max;
  least_and_largest(seq, head, first, &min, &max);
  bf16* stats = view().stats(slot(seq, first) / kPageSize, head) +
                first % kPageSize / shape_.logical_page_size * 2 * shape_.head_dim;
  std::transform(min.begin(), min.end(), stats, to_bf16_floor);
  std::transform(max.begin(), max.end(), stats + shape_.head_dim, to_bf16_ceil);
}

// In float64, where quotients by powers of two are exact, and with a search for the unit.
void PagedKvFixture::recompute_codes(int32_t seq, int32_t head, int32_t first) {
  constexpr int kGroup = 8;
  std::vector<float> min;
  std::vector<float> max;
  least_and_largest(seq, head, first, &min, &max);
  const int64_t page = slot(seq, first) / kPageSize;
  const int32_t logical_page = first % kPageSize / shape_.logical_page_size;
  for (int32_t g = 0; g < shape_.head_dim / kGroup; ++g) {
    int8_t* codes = view().bound_codes(page, head, logical_page) + 2 * kGroup * g;
    uint8_t& unit = view().bound_units(page, head, logical_page)[g];
    unit = 255;
    for (int exponent = -126; exponent <= 121; ++exponent) {
      bool fits = true;
      for (int i = 0; i < kGroup; ++i) {
        const auto c = static_cast<size_t>(kGroup * g + i);
        const bool empty = min[c] > max[c];
        const double low = empty ? 0 : std::floor(std::ldexp(double{min[c]}, -exponent));
        const double high = empty ? 0 : std::ceil(std::ldexp(double{max[c]}, -exponent));
        fits &= low >= -127 && high <= 127;
        if (!fits) break;
        codes[i] = static_cast<int8_t>(low);
        codes[kGroup + i] = static_cast<int8_t>(high);
      }
      if (!fits) continue;
      unit = static_cast<uint8_t>(exponent + 127);
      break;
    }
    if (unit != 255) continue;
    for (int i = 0; i < kGroup; ++i) codes[i] = -1, codes[kGroup + i] = 1;  // none fits
  }
}

PagedKvFixture::Bounds PagedKvFixture::bounds(int64_t page_id, int32_t head, int64_t logical_page,
                                              int32_t c) {
  const PagedKvView kv = view();
  if (shape_.stats_format == KeyStatsFormat::kBF16) {
    const bf16* min = kv.key_min(page_id, head, logical_page);
    return {to_float(min[c]), to_float(min[shape_.head_dim + c])};
  }
  const int8_t* codes = kv.bound_codes(page_id, head, logical_page) + c / 8 * 16 + c % 8;
  const float unit = std::ldexp(1.0F, kv.bound_units(page_id, head, logical_page)[c / 8] - 127);
  return {static_cast<float>(codes[0]) * unit, static_cast<float>(codes[8]) * unit};
}

void PagedKvFixture::recompute_mean_std(int32_t seq, int32_t head, int32_t first) {
  const auto head_dim = static_cast<size_t>(shape_.head_dim);
  const int32_t end =
      std::min(shape_.kv_lens[static_cast<size_t>(seq)], first + shape_.logical_page_size);
  const auto count = static_cast<float>(end - first);
  bf16* block = view().stats(slot(seq, first) / kPageSize, head);
  const int32_t logical_page = first % kPageSize / shape_.logical_page_size;
  std::vector<std::vector<float>> keys;
  for (int32_t t = first; t < end; ++t) keys.push_back(key(seq, head, t));
  float square_sum = 0;
  for (size_t c = 0; c < head_dim; ++c) {
    float sum = 0;
    for (const auto& k : keys) sum += k[c];
    bf16& mean = block[static_cast<size_t>(logical_page) * head_dim + c];
    mean = to_bf16(sum / count);
    float squares = 0;
    for (const auto& k : keys) squares += (k[c] - to_float(mean)) * (k[c] - to_float(mean));
    square_sum += squares;
  }
  const auto means = static_cast<size_t>(kPageSize / shape_.logical_page_size) * head_dim;
  block[means + static_cast<size_t>(logical_page)] = to_bf16(std::sqrt(square_sum / count));
}

int32_t random_len(int32_t max_len, Random* random) {
  if (random->integer(0, 2) == 0) {  // at the edge of a page, or of a logical page
    const auto edge = static_cast<int32_t>(16 * random->integer(1, std::max(1, max_len / 16)) +
                                           random->integer(-1, 1));
    return std::clamp(edge, 1, max_len);
  }
  return static_cast<int32_t>(random->integer(1, max_len));
}

PagedKvShape random_shape(int32_t num_seqs, int32_t max_len, Random* random) {
  PagedKvShape shape;
  shape.format =
      kKvFormats[static_cast<size_t>(random->integer(0, int64_t{std::size(kKvFormats)} - 1))];
  shape.head_dim = random->integer(0, 1) == 0 ? 64 : 128;
  shape.num_heads = static_cast<int32_t>(random->integer(1, 2));
  shape.logical_page_size = 16 << random->integer(0, 2);
  for (int32_t i = 0; i < num_seqs; ++i) shape.kv_lens.push_back(random_len(max_len, random));
  return shape;
}

PagedKvShape with_any_bounds(PagedKvShape shape, Random* random) {
  if (random->integer(0, 1) == 0) shape.stats_format = KeyStatsFormat::kInt8;
  return shape;
}

PagedKvShape with_any_stats(PagedKvShape shape, Random* random) {
  if (random->integer(0, 2) > 0) return with_any_bounds(std::move(shape), random);
  shape.page_score = PageScore::kMeanStd;
  return shape;
}

}  // namespace lserve::testing
