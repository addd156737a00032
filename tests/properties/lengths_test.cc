// P19: the lengths at which something ends or overflows, on a fixed list of long cases.
#include <sys/mman.h>

#include <cmath>
#include <cstring>

#include "base/strings.h"
#include "properties/layer_cases.h"

namespace lserve::testing {
namespace {

constexpr int64_t kBudget = 4096;
constexpr int64_t kChunk = 512;

LayerShape layer_of(AttentionMode mode) {
  LayerShape shape;
  shape.pattern = HeadPattern::uniform(1, 1, HeadClass::kRetrieval);
  shape.attention.mode = mode;
  shape.attention.token_budget = kBudget;
  shape.group = 1;
  shape.pool_pages = (int64_t{1} << 17) / kPageSize + 1;
  return shape;
}

// float64 attention of the last token over the pages that were read.
std::vector<double> oracle(const LayerShape& shape, const TokenStream& stream, int64_t len,
                           const std::vector<bool>& reads) {
  const auto dim = static_cast<size_t>(shape.head_dim);
  const auto last = static_cast<size_t>(len - 1);
  std::vector<double> out(dim, 0);
  std::vector<double> scores;
  double max = -1e300;
  for (size_t t = 0; t <= last; ++t) {
    double score = 0;
    for (size_t c = 0; c < dim; ++c) {
      score += double{stream.q[last * dim + c]} * double{to_float(to_bf16(stream.k[t * dim + c]))};
    }
    scores.push_back(score * double{shape.softmax_scale()});
    if (reads[t / kPageSize]) max = std::max(max, scores.back());
  }
  double sum = 0;
  for (size_t t = 0; t <= last; ++t) {
    if (!reads[t / kPageSize]) continue;
    const double weight = std::exp(scores[t] - max);
    sum += weight;
    for (size_t c = 0; c < dim; ++c) {
      out[c] += weight * double{to_float(to_bf16(stream.v[t * dim + c]))};
    }
  }
  for (double& x : out) x /= sum;
  return out;
}

TEST(Lengths, P19_DecodeAtEveryEdge) {
  Random random(test_seed());
  const auto stream =
      random_stream(layer_of(AttentionMode::kDense), int64_t{1} << 17, Values::kNormal, &random);
  Backend& backend = *available_backends().back().backend;
  for (const AttentionMode mode : {AttentionMode::kDense, AttentionMode::kPages}) {
    const LayerShape shape = layer_of(mode);
    for (const int64_t len : {int64_t{1}, int64_t{63}, int64_t{64}, int64_t{65}, kChunk - 1, kChunk,
                              kChunk + 1, kBudget - 1, kBudget, kBudget + 1, int64_t{32767},
                              int64_t{32768}, int64_t{32769}, int64_t{131071}, int64_t{131072}}) {
      SCOPED_TRACE(cat(attention_mode_name(mode), ", ", len, " tokens"));
      const auto key = static_cast<uint64_t>(len);
      AttentionLayer layer(&backend, shape);
      layer.add(key, &stream);
      decode_after(&layer, key, len - 1, 1);
      std::vector<bool> reads(static_cast<size_t>(layer.cache().config().num_pages[0]), false);
      int64_t pages = 0;
      for (const PageSpan& span : layer.last_decode_plan().spans) {
        // A fresh pool hands out ids from 0 in order, so that they are the places of the pages.
        reads.at(static_cast<size_t>(span.page_id)) = true;
        ++pages;
      }
      const int64_t held = (len + kPageSize - 1) / kPageSize;
      EXPECT_EQ(pages, mode == AttentionMode::kDense ? held : std::min(held, kBudget / kPageSize));
      EXPECT_TRUE(all_near(layer.out(key), oracle(shape, stream, len, reads), 2e-5));
    }
  }
}

TEST(Lengths, P19_PrefillAtTheEdgesOfPagesAndChunks) {
  Random random(test_seed());
  const LayerShape shape = layer_of(AttentionMode::kDense);
  const auto stream = random_stream(shape, kChunk + 1, Values::kNormal, &random);
  for (const BackendCase& c : available_backends()) {
    for (const int64_t len :
         {int64_t{1}, int64_t{63}, int64_t{64}, int64_t{65}, kChunk - 1, kChunk, kChunk + 1}) {
      AttentionLayer whole(c.backend.get(), shape);
      AttentionLayer cut(c.backend.get(), shape);
      whole.add(1, &stream);
      cut.add(1, &stream);
      whole.prefill({{1, len}});
      for (int64_t done = 0; done < len; done += 64)
        cut.prefill({{1, std::min(len - done, int64_t{64})}});
      EXPECT_TRUE(same_bits(cut.out(1), whole.out(1))) << c.name << ", " << len << " tokens";
    }
  }
}

// Memory of which only what is touched exists.
class SparseMemory {
 public:
  explicit SparseMemory(size_t bytes)
      : bytes_(bytes),
        data_(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {}
  SparseMemory(const SparseMemory&) = delete;
  SparseMemory& operator=(const SparseMemory&) = delete;
  ~SparseMemory() {
    if (ok()) ::munmap(data_, bytes_);
  }
  bool ok() const { return data_ != MAP_FAILED; }
  void* data() const { return data_; }

 private:
  size_t bytes_;
  void* data_;
};

constexpr int32_t kFarTokens = 200;

// Every operation that touches pages, on the pages of one sequence: writes its last token anew,
// scores its pages, and attends from its last tokens. All results in one row.
std::vector<float> read_and_write(Backend* backend, const PagedKvView& view,
                                  const std::vector<int32_t>& page_ids, const DecodeRun& run) {
  constexpr int32_t kRows = 5;
  const int64_t dim = view.head_dim;
  const auto values = [&](int64_t count, float first) {
    std::vector<float> x(static_cast<size_t>(count * dim));
    for (size_t i = 0; i < x.size(); ++i) x[i] = first * std::sin(static_cast<float>(i));
    return x;
  };
  auto k = values(1, 1.0F);
  auto v = values(1, 2.0F);
  const int64_t slot = int64_t{page_ids.back()} * kPageSize + (kFarTokens - 1) % kPageSize;
  const int32_t kv_head = 0;
  backend->write_kv({.k = TensorView(k.data(), {1, 1, dim}),
                     .v = TensorView(v.data(), {1, 1, dim}),
                     .kv = view,
                     .kv_heads = std::span(&kv_head, 1),
                     .slots = std::span(&slot, 1)});
  std::vector<float> q = run.q;
  std::vector<float> scores(page_ids.size());
  std::vector<float> out(q.size());
  const Shape dims{1, run.group, dim};
  const PageScoreWork score{.num_q_heads = run.group, .kv_len = kFarTokens};
  backend->page_scores(
      {.q = TensorView(q.data(), dims),
       .kv = view,
       .page_ids = page_ids,
       .work = std::span(&score, 1),
       .scores = TensorView(scores.data(), {1, static_cast<int64_t>(scores.size())})});
  std::vector<PageSpan> spans;
  for (size_t p = 0; p < page_ids.size(); ++p) {
    const auto begin = static_cast<int32_t>(p) * kPageSize;
    const auto tokens = static_cast<int16_t>(std::min(kPageSize, kFarTokens - begin));
    spans.push_back({page_ids[p], 0, tokens});
  }
  const DecodeWork decode{.num_q_heads = run.group,
                          .num_spans = static_cast<int32_t>(spans.size())};
  backend->decode_attention({.q = TensorView(q.data(), dims),
                             .out = TensorView(out.data(), dims),
                             .pools = std::span(&view, 1),
                             .work = std::span(&decode, 1),
                             .spans = spans,
                             .softmax_scale = run.softmax_scale});
  auto rows = values(kRows * run.group, 0.5F);
  std::vector<float> attended(rows.size());
  const std::span<const int32_t> table = page_ids;
  const PrefillWork prefill{
      .q_end = kRows, .position = kFarTokens - kRows, .num_ranges = 1, .window = {}};
  const KeyBlockRange range{0, static_cast<int32_t>(page_ids.size())};
  const Shape row_dims{kRows, run.group, dim};
  backend->prefill_attention({.q = TensorView(rows.data(), row_dims),
                              .out = TensorView(attended.data(), row_dims),
                              .pools = std::span(&view, 1),
                              .page_tables = std::span(&table, 1),
                              .work = std::span(&prefill, 1),
                              .ranges = std::span(&range, 1),
                              .gqa_group_size = run.group,
                              .softmax_scale = run.softmax_scale});
  backend->synchronize();
  out.insert(out.end(), scores.begin(), scores.end());
  out.insert(out.end(), attended.begin(), attended.end());
  return out;
}

// A pool of more than 2^31 elements of codes and of statistics: no index of 32 bits reaches its
// end. Its last pages give what the first pages of a small pool give.
TEST(Lengths, P19_PoolsBeyondTwoToThe31Elements) {
  constexpr int64_t kPages = (int64_t{1} << 31) / (4 * 2 * 64) + 8;
  Random random(test_seed());
  PagedKvFixture small({.format = KvFormat::kBF16, .kv_lens = {kFarTokens}, .spare_pages = 0},
                       Values::kNormal, Values::kNormal, &random);
  const DecodeRun run = random_decode(small, &random);
  PagedKvView near = small.view();
  PagedKvView far = near;
  far.num_pages = kPages;
  const SparseMemory tiles(static_cast<size_t>(kPages * far.page_bytes()));
  const SparseMemory stats(static_cast<size_t>(kPages * far.stats_elements() * 2));
  if (!tiles.ok() || !stats.ok()) GTEST_SKIP() << "no address space for a pool of 2^31 elements";
  far.tiles = static_cast<std::byte*>(tiles.data());
  far.key_stats = static_cast<bf16*>(stats.data());
  ASSERT_GT(kPages * far.stats_elements(), int64_t{1} << 31);
  std::vector<int32_t> ids;
  for (const int32_t id : small.page_ids()) {
    ids.push_back(static_cast<int32_t>(kPages - 1 - id));
    std::memcpy(far.tile(ids.back(), 0), near.tile(id, 0), static_cast<size_t>(far.tile_bytes()));
    std::memcpy(far.stats(ids.back(), 0), near.stats(id, 0),
                static_cast<size_t>(far.stats_elements()) * 2);
  }
  for (const BackendCase& c : available_backends()) {
    EXPECT_TRUE(same_bits(read_and_write(c.backend.get(), far, ids, run),
                          read_and_write(c.backend.get(), near, small.page_ids(), run)))
        << c.name;
    EXPECT_EQ(std::memcmp(far.tile(ids.back(), 0), near.tile(small.page_ids().back(), 0),
                          static_cast<size_t>(far.tile_bytes())),
              0)
        << c.name;
  }
}

}  // namespace
}  // namespace lserve::testing
