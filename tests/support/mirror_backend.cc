// See mirror_backend.h.
#include "support/mirror_backend.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <vector>

#include "base/checked_math.h"
#include "kernels/forwarding_backend.h"
#ifdef LSERVE_WITH_CUDA
#include "tensor/cuda/memory_regions.h"
#endif

namespace lserve::testing {

namespace {

#ifdef LSERVE_WITH_CUDA
using cuda::MemoryRegions;
#else
struct MemoryRegions {
  void add_heap(std::span<std::byte>) {}
  void use(std::span<const std::span<std::byte>>) {}
  void use_all() {}
};
#endif

// Device memory for the copies of one operation after the other.
class Arena {
 public:
  explicit Arena(Backend* inner) : inner_(*inner) {}

  void reset() {
    block_ = 0;
    used_ = 0;
  }
  std::byte* take(int64_t bytes) {
    constexpr int64_t kAlignment = 256;
    const int64_t size = ceil_div(std::max<int64_t>(bytes, 1), kAlignment) * kAlignment;
    while (block_ < blocks_.size() && used_ + size > bytes_of(block_)) {
      ++block_;
      used_ = 0;
    }
    if (block_ == blocks_.size()) {
      constexpr int64_t kBlock = int64_t{64} << 20;
      auto block = inner_.allocate(static_cast<size_t>(std::max(size, kBlock)));
      CHECK(block.ok());
      blocks_.push_back(std::move(block).value());
      regions_.add_heap({blocks_.back().as<std::byte>(), blocks_.back().bytes()});
    }
    std::byte* result = blocks_[block_].as<std::byte>() + used_;
    used_ += size;
    return result;
  }

  MemoryRegions& regions() { return regions_; }

 private:
  int64_t bytes_of(size_t block) const { return static_cast<int64_t>(blocks_[block].bytes()); }

  Backend& inner_;
  MemoryRegions regions_;
  std::vector<Buffer> blocks_;
  size_t block_ = 0;
  int64_t used_ = 0;
};

// The copies of one operation. in() and out() give the device's address of host memory; what out()
// was asked for comes back at the end. The same host memory has one copy, so that operations in
// place stay in place.
class Copies {
 public:
  Copies(Backend* inner, Arena* arena) : inner_(*inner), arena_(*arena) { arena_.reset(); }
  Copies(const Copies&) = delete;
  Copies& operator=(const Copies&) = delete;
  ~Copies() {
    inner_.synchronize();
    arena_.regions().use_all();
    for (const Range& range : ranges_) {
      if (range.comes_back) inner_.download(range.host, range.device, range.bytes);
    }
    for (const Part& part : parts_) inner_.download(part.host, part.device, part.bytes);
  }

  // To run the operation on, when all its params are copied. A sanitizer then knows that it has no
  // business beside the copies, nor in pages that are not on its lists.
  Backend& ready() {
    inner_.synchronize();
    const auto before = [](auto a, auto b) { return a.data() < b.data(); };
    const auto same = [](auto a, auto b) { return a.data() == b.data(); };
    std::sort(in_use_.begin(), in_use_.end(), before);
    in_use_.erase(std::unique(in_use_.begin(), in_use_.end(), same), in_use_.end());
    arena_.regions().use(in_use_);
    return inner_;
  }

  TensorView in(TensorView view) { return mirror(view, false); }
  TensorView out(TensorView view) { return mirror(view, true); }
  template <typename T>
  std::span<const T> in(std::span<const T> list) {
    void* host = const_cast<void*>(static_cast<const void*>(list.data()));
    return {static_cast<const T*>(mirror(host, list.size_bytes(), false)), list.size()};
  }
  template <typename T>
  std::span<T> out(std::span<T> list) {
    return {static_cast<T*>(mirror(list.data(), list.size_bytes(), true)), list.size()};
  }

  // The tiles or statistics of a pool, of which an operation touches `pages` only.
  template <typename T>
  T* pool(T* host, int64_t page_bytes, int64_t num_pages, const std::vector<int32_t>& pages,
          bool comes_back) {
    if (host == nullptr) return nullptr;
    const int64_t bytes = page_bytes * num_pages;
    const bool whole = bytes <= kWholePoolBytes;
    std::byte* device =
        whole ? copy(host, static_cast<size_t>(bytes), comes_back) : arena_.take(bytes);
    for (const int32_t page : std::set<int32_t>(pages.begin(), pages.end())) {
      if (page < 0 || page >= num_pages) continue;  // an entry of a table that nobody reads
      const Part part{reinterpret_cast<std::byte*>(host) + page * page_bytes,
                      device + page * page_bytes, static_cast<size_t>(page_bytes)};
      in_use_.emplace_back(part.device, part.bytes);
      if (whole) continue;
      inner_.upload(part.device, part.host, part.bytes);
      if (comes_back) parts_.push_back(part);
    }
    return reinterpret_cast<T*>(device);
  }
  PagedKvView view(const PagedKvView& kv, const std::vector<int32_t>& pages, bool comes_back) {
    PagedKvView copy = kv;
    copy.tiles = pool(kv.tiles, kv.page_bytes(), kv.num_pages, pages, comes_back);
    const auto stats_bytes = kv.num_heads * kv.stats_elements() * int64_t{sizeof(bf16)};
    copy.key_stats = pool(kv.key_stats, stats_bytes, kv.num_pages, pages, comes_back);
    return copy;
  }

 private:
  struct Range {
    std::byte* host;
    std::byte* device;
    size_t bytes;
    bool comes_back;
    bool holds(const std::byte* begin, size_t size) const {
      return host <= begin && begin + size <= host + bytes;
    }
    bool touches(const std::byte* begin, size_t size) const {
      return begin < host + bytes && host < begin + size;
    }
  };
  struct Part {
    std::byte* host;
    std::byte* device;
    size_t bytes;
  };

  TensorView mirror(TensorView view, bool comes_back) {
    if (view.data == nullptr) return view;
    const auto bytes = static_cast<size_t>(view.shape.num_elements()) * dtype_bytes(view.dtype);
    view.data = mirror(view.data, bytes, comes_back);
    return view;
  }
  void* mirror(void* data, size_t bytes, bool comes_back) {
    auto* host = static_cast<std::byte*>(data);
    if (host == nullptr || bytes == 0) return arena_.take(1);
    const size_t before = ranges_.size();
    std::byte* device = copy(host, bytes, comes_back);
    if (ranges_.size() > before) in_use_.emplace_back(device, bytes);
    return device;
  }
  std::byte* copy(void* data, size_t bytes, bool comes_back) {
    auto* host = static_cast<std::byte*>(data);
    for (Range& range : ranges_) {
      if (range.holds(host, bytes)) {
        range.comes_back = range.comes_back || comes_back;
        return range.device + (host - range.host);
      }
      CHECK(!range.touches(host, bytes) && "memory of params overlaps in part");
    }
    ranges_.push_back({host, arena_.take(static_cast<int64_t>(bytes)), bytes, comes_back});
    inner_.upload(ranges_.back().device, host, bytes);
    return ranges_.back().device;
  }

  Backend& inner_;
  Arena& arena_;
  std::vector<Range> ranges_;
  std::vector<Part> parts_;
  std::vector<std::span<std::byte>> in_use_;
};

void add_pages(std::span<const int32_t> page_ids, std::vector<int32_t>* pages) {
  pages->insert(pages->end(), page_ids.begin(), page_ids.end());
}

// A linear() whose memory is the device's, and its list of outputs.
struct MirroredLinear {
  MirroredLinear(const LinearParams& from, Copies* copies)
      : outputs(from.outputs.begin(), from.outputs.end()), params(from) {
    params.x = copies->in(from.x);
    params.x_largest = copies->in(from.x_largest);
    for (LinearOutput& output : outputs) {
      output.bias = copies->in(output.bias);
      output.out = copies->out(output.out);
    }
    params.outputs = outputs;
    params.low_rank_scratch = copies->out(from.low_rank_scratch);
  }

  std::vector<LinearOutput> outputs;
  LinearParams params;
};

class MirrorBackend final : public ForwardingBackend {
 public:
  explicit MirrorBackend(std::unique_ptr<Backend> inner)
      : ForwardingBackend(std::move(inner)), arena_(&this->inner()) {}

  Result<Buffer> allocate(size_t bytes) override {
    Buffer buffer = allocate_host(bytes);
    if (buffer.data() == nullptr) return memory_error("no host memory");
    return buffer;
  }
  void upload(void* to, const void* from, size_t bytes) override {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }
  void download(void* to, const void* from, size_t bytes) override {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }

  void embed(const EmbedParams& params) override {
    Copies copies(&inner(), &arena_);
    EmbedParams p = params;
    p.token_ids = copies.in(params.token_ids);
    p.out = copies.out(params.out);
    copies.ready().embed(p);
  }

  void rms_norm(const RmsNormParams& params) override {
    Copies copies(&inner(), &arena_);
    RmsNormParams p = params;
    p.x = copies.in(params.x);
    p.weight = copies.in(params.weight);
    p.out = copies.out(params.out);
    copies.ready().rms_norm(p);
  }

  void linear(const LinearParams& params) override {
    Copies copies(&inner(), &arena_);
    MirroredLinear mirrored(params, &copies);
    copies.ready().linear(mirrored.params);
  }

  bool norm_linear(const NormLinearParams& params) override {
    Copies copies(&inner(), &arena_);
    MirroredLinear mirrored(params.linear, &copies);
    NormLinearParams p = params;
    p.norm.x = copies.in(params.norm.x);
    p.norm.weight = copies.in(params.norm.weight);
    p.norm.out = mirrored.params.x;
    p.linear = mirrored.params;
    p.largest = copies.out(params.largest);
    return copies.ready().norm_linear(p);
  }

  void silu_mul(const SiluMulParams& params) override {
    Copies copies(&inner(), &arena_);
    SiluMulParams p;
    p.gate = copies.in(params.gate);
    p.up = copies.in(params.up);
    p.out = copies.out(params.out);
    copies.ready().silu_mul(p);
  }

  void rope(const RopeParams& params) override {
    Copies copies(&inner(), &arena_);
    RopeParams p;
    p.q = copies.out(params.q);
    p.k = copies.out(params.k);
    p.cos_sin = copies.in(params.cos_sin);
    copies.ready().rope(p);
  }

  void write_kv(const WriteKvParams& params) override {
    Copies copies(&inner(), &arena_);
    const WriteKvParams p = copied(params, copies.in(params.k), copies.in(params.v), &copies);
    copies.ready().write_kv(p);
  }

  void rope_write_kv(const RopeWriteKvParams& params) override {
    Copies copies(&inner(), &arena_);
    const RopeParams rope{copies.out(params.rope.q), copies.out(params.rope.k),
                          copies.in(params.rope.cos_sin)};
    const TensorView v = copies.in(params.pools[0].v);
    std::vector<WriteKvParams> pools;
    for (const WriteKvParams& pool : params.pools) {
      pools.push_back(copied(pool, rope.k, v, &copies));
    }
    copies.ready().rope_write_kv({rope, pools});
  }

  void prefill_attention(const PrefillAttentionParams& params) override {
    Copies copies(&inner(), &arena_);
    PrefillAttentionParams p = params;
    std::vector<PagedKvView> pools;
    std::vector<std::span<const int32_t>> tables;
    for (size_t i = 0; i < params.pools.size(); ++i) {
      std::vector<int32_t> pages;
      add_pages(params.page_tables[i], &pages);
      pools.push_back(copies.view(params.pools[i], pages, false));
      tables.push_back(copies.in(params.page_tables[i]));
    }
    p.pools = pools;
    p.page_tables = tables;
    p.q = copies.in(params.q);
    p.out = copies.out(params.out);
    p.work = copies.in(params.work);
    p.ranges = copies.in(params.ranges);
    copies.ready().prefill_attention(p);
  }

  void page_scores(const PageScoreParams& params) override {
    Copies copies(&inner(), &arena_);
    PageScoreParams p = params;
    std::vector<int32_t> pages;
    add_pages(params.page_ids, &pages);
    PagedKvView statistics = params.kv;  // all that the operation may read
    statistics.tiles = nullptr;
    for (const PageScoreWork& work : params.work) {
      const auto num_pages = static_cast<int32_t>(ceil_div(work.kv_len, kPageSize));
      if (params.max_num_pages == 0) p.max_num_pages = std::max(p.max_num_pages, num_pages);
      if (params.max_q_heads == 0) p.max_q_heads = std::max(p.max_q_heads, work.num_q_heads);
    }
    p.q = copies.in(params.q);
    p.kv = copies.view(statistics, pages, false);
    p.page_ids = copies.in(params.page_ids);
    p.work = copies.in(params.work);
    p.scores = copies.out(params.scores);
    copies.ready().page_scores(p);
  }

  void select_pages(const SelectPagesParams& params) override {
    Copies copies(&inner(), &arena_);
    SelectPagesParams p = params;
    p.scores = copies.in(params.scores);
    p.num_pages = copies.in(params.num_pages);
    p.rows = copies.in(params.rows);
    p.selected = copies.out(params.selected);
    copies.ready().select_pages(p);
  }

  void gather_spans(const GatherSpansParams& params) override {
    Copies copies(&inner(), &arena_);
    GatherSpansParams p = params;
    p.selected = copies.in(params.selected);
    p.page_ids = copies.in(params.page_ids);
    p.work = copies.in(params.work);
    p.spans = copies.out(params.spans);
    copies.ready().gather_spans(p);
  }

  void select_spans(const SelectSpansParams& params) override {
    Copies copies(&inner(), &arena_);
    SelectSpansParams p = params;
    p.select.scores = copies.in(params.select.scores);
    p.select.num_pages = copies.in(params.select.num_pages);
    p.select.rows = copies.in(params.select.rows);
    p.select.selected = copies.out(params.select.selected);
    p.page_ids = copies.in(params.page_ids);
    p.gather = copies.in(params.gather);
    p.spans = copies.out(params.spans);
    copies.ready().select_spans(p);
  }

  void decode_attention(const DecodeAttentionParams& params) override {
    Copies copies(&inner(), &arena_);
    DecodeAttentionParams p = params;
    std::vector<std::vector<int32_t>> pages(params.pools.size());
    for (const DecodeWork& work : params.work) {
      if (params.max_spans == 0) p.max_spans = std::max(p.max_spans, work.num_spans);
      if (params.max_q_heads == 0) p.max_q_heads = std::max(p.max_q_heads, work.num_q_heads);
      const auto spans = params.spans.subspan(static_cast<size_t>(work.first_span),
                                              static_cast<size_t>(work.num_spans));
      for (const PageSpan& span : spans) {
        pages[static_cast<size_t>(work.pool)].push_back(span.page_id);
      }
    }
    std::vector<PagedKvView> pools;
    for (size_t i = 0; i < params.pools.size(); ++i) {
      PagedKvView tiles = params.pools[i];
      tiles.key_stats = nullptr;
      pools.push_back(copies.view(tiles, pages[i], false));
    }
    p.pools = pools;
    p.q = copies.in(params.q);
    p.out = copies.out(params.out);
    p.work = copies.in(params.work);
    p.spans = copies.in(params.spans);
    copies.ready().decode_attention(p);
  }

  void sample(const SampleParams& params) override {
    Copies copies(&inner(), &arena_);
    SampleParams p = params;
    p.logits = copies.in(params.logits);
    copies.ready().sample(p);
  }
  void log_probs(const LogProbParams& params) override {
    Copies copies(&inner(), &arena_);
    LogProbParams p = params;
    p.logits = copies.in(params.logits);
    copies.ready().log_probs(p);
  }

 private:
  // `params` with all but k and v copied.
  static WriteKvParams copied(const WriteKvParams& params, TensorView k, TensorView v,
                              Copies* copies) {
    std::vector<int32_t> pages;
    for (const int64_t slot : params.slots) {
      if (slot != kNoSlot) pages.push_back(static_cast<int32_t>(slot / kPageSize));
    }
    std::sort(pages.begin(), pages.end());
    pages.erase(std::unique(pages.begin(), pages.end()), pages.end());
    WriteKvParams p = params;
    p.k = std::move(k);
    p.v = std::move(v);
    p.kv = copies->view(params.kv, pages, true);
    p.kv_heads = copies->in(params.kv_heads);
    p.slots = copies->in(params.slots);
    return p;
  }

  Arena arena_;
};

}  // namespace

std::shared_ptr<Backend> make_mirror_backend(std::unique_ptr<Backend> inner) {
  return std::make_shared<MirrorBackend>(std::move(inner));
}

}  // namespace lserve::testing
