// What goes into the cache and what comes out of logits: write_kv, rope_write_kv, sample.
#include <memory>

#include "base/checked_math.h"
#include "base/strings.h"
#include "evaluation/kernel_bench/bench_memory.h"
#include "evaluation/kernel_bench/workload_makers.h"

namespace lserve {

namespace {

constexpr double kFloat = sizeof(float);
// A single new token lies inside a page, as most do.
constexpr int64_t kSingleOffset = 37;

struct WriteData {
  BenchMemory memory;
  PagedKvView kv;
  float* q = nullptr;  // [copies][tokens, q_width]
  float* k = nullptr;  // [copies][tokens, kv_width]
  float* v = nullptr;
  std::span<float> cos_sin;     // [tokens, 2, head_dim / 2], of every copy
  std::span<int32_t> kv_heads;  // all
  std::span<int64_t> slots;     // [copies][tokens]

  WriteData(Backend& backend, uint64_t seed) : memory(backend, seed) {}
};

PagedKvView view_of(const ShapedCase& c) {
  PagedKvView kv;
  kv.format = c.settings.kv_format;
  kv.page_score = c.settings.attention.page_score;
  kv.stats_format = c.settings.attention.key_stats;
  kv.logical_page_size = c.settings.attention.logical_page_size;
  kv.num_heads = static_cast<int32_t>(c.shape.num_kv_heads);
  kv.head_dim = static_cast<int32_t>(c.shape.head_dim);
  return kv;
}

double stats_bytes(const PagedKvView& kv) {
  return static_cast<double>(kv.num_heads * kv.stats_elements()) * sizeof(bf16);
}

// Of a call: k and v as floats, both as they are stored, and the statistics of the logical pages
// that the tokens lie in.
double write_bytes(const ShapedCase& c, const PagedKvView& kv) {
  const auto tokens = static_cast<double>(c.tokens);
  const double logical =
      c.tokens == 1 ? 1 : static_cast<double>(ceil_div<int64_t>(c.tokens, kv.logical_page_size));
  const double scale = has_scales(kv.format) ? sizeof(KvScale) : 0;
  const double stored = 2 * (static_cast<double>(kv.vector_bytes()) + scale);
  return tokens * static_cast<double>(c.kv_width()) * 2 * kFloat + tokens * kv.num_heads * stored +
         logical / kv.logical_pages() * stats_bytes(kv);
}

Status make_pool(WriteData* data, const ShapedCase& c, int64_t copies) {
  const int64_t pages = ceil_div<int64_t>(c.tokens, kPageSize);  // of a copy
  PagedKvView& kv = data->kv;
  kv.num_pages = copies * pages;
  ASSIGN_OR_RETURN(float* tiles, data->memory.zeros(kv.num_pages * kv.page_bytes() / 4));
  kv.tiles = reinterpret_cast<std::byte*>(tiles);
  ASSIGN_OR_RETURN(float* stats,
                   data->memory.zeros(kv.num_pages * kv.num_heads * kv.stats_elements() / 2));
  kv.key_stats = reinterpret_cast<bf16*>(stats);
  std::vector<int64_t> slots;
  for (int64_t copy = 0; copy < copies; ++copy) {
    const int64_t first = copy * pages * kPageSize + (c.tokens == 1 ? kSingleOffset : 0);
    for (int64_t t = 0; t < c.tokens; ++t) slots.push_back(first + t);
  }
  ASSIGN_OR_RETURN(data->slots, data->memory.list(slots));
  std::vector<int32_t> heads;
  for (int32_t h = 0; h < kv.num_heads; ++h) heads.push_back(h);
  ASSIGN_OR_RETURN(data->kv_heads, data->memory.list(heads));
  return {};
}

WriteKvParams write_params(const WriteData& data, const ShapedCase& c, int64_t copy) {
  const Shape shape({c.tokens, c.shape.num_kv_heads, c.shape.head_dim});
  const int64_t at = copy * c.tokens;
  return {.k = TensorView(data.k + at * c.kv_width(), shape),
          .v = TensorView(data.v + at * c.kv_width(), shape),
          .kv = data.kv,
          .kv_heads = data.kv_heads,
          .slots = data.slots.subspan(static_cast<size_t>(at), static_cast<size_t>(c.tokens))};
}

// With `rope`, the whole of rope_write_kv.
Result<PreparedKernel> prepare_write(Backend& backend, const ShapedCase& c, bool rope) {
  auto data = std::make_shared<WriteData>(backend, c.settings.seed);
  data->kv = view_of(c);
  const auto tokens = static_cast<double>(c.tokens);
  const auto q_width = static_cast<double>(c.q_width());
  const auto kv_width = static_cast<double>(c.kv_width());
  const double q_bytes = rope ? 2 * tokens * q_width * kFloat : 0;
  const double angle_bytes = rope ? tokens * static_cast<double>(c.shape.head_dim) * kFloat : 0;
  PreparedKernel kernel;
  kernel.bytes = write_bytes(c, data->kv) + q_bytes + angle_bytes;
  // A smallest and a largest key (or a mean and a square) of each channel; rope: see
  // rope_workloads.
  kernel.operations = tokens * (2 * kv_width + (rope ? 3 * (q_width + kv_width) : 0));
  const auto pages = static_cast<double>(ceil_div<int64_t>(c.tokens, kPageSize));
  const double held = pages * (static_cast<double>(data->kv.page_bytes()) + stats_bytes(data->kv)) +
                      tokens * (2 * kv_width + q_width + 2) * kFloat;
  ASSIGN_OR_RETURN(kernel.copies, plan_copies(backend, {held, kernel.bytes}, angle_bytes,
                                              c.settings.rotated_bytes));
  RETURN_IF_ERROR(make_pool(data.get(), c, kernel.copies));
  const int64_t rows = kernel.copies * c.tokens;
  ASSIGN_OR_RETURN(data->k, data->memory.random(rows * c.kv_width()));
  ASSIGN_OR_RETURN(data->v, data->memory.random(rows * c.kv_width()));
  if (rope) {
    ASSIGN_OR_RETURN(data->q, data->memory.random(rows * c.q_width()));
    const std::vector<float> turns(static_cast<size_t>(c.tokens * c.shape.head_dim), 0.70710678F);
    ASSIGN_OR_RETURN(data->cos_sin, data->memory.list(turns));
  }
  RETURN_IF_ERROR(backend.reserve(kernel.limits));
  kernel.run = [&backend, d = data.get(), c, rope](int64_t copy) {
    const WriteKvParams params = write_params(*d, c, copy);
    if (!rope) return backend.write_kv(params);
    const Shape heads({c.tokens, c.shape.num_q_heads, c.shape.head_dim});
    const TensorView q(d->q + copy * c.tokens * c.q_width(), heads);
    const TensorView cos_sin(d->cos_sin.data(), {c.tokens, 2, c.shape.head_dim / 2});
    backend.rope_write_kv({{q, params.k, cos_sin}, {&params, 1}});
  };
  kernel.memory = std::move(data);
  return kernel;
}

KernelWorkloads write_workloads(const ShapedCase& c, bool rope) {
  return {{.op = c.settings.op,
           .what = cat(kv_format_name(c.settings.kv_format), ", ",
                       page_score_name(c.settings.attention.page_score), ", ", rows_text(c.tokens)),
           .vendor = {},
           .prepare = [c, rope](Backend& backend) { return prepare_write(backend, c, rope); }}};
}

Result<PreparedKernel> prepare_sample(Backend& backend, const ShapedCase& c,
                                      const SamplingParams& sampling) {
  const int64_t batch = c.settings.batch;
  const int64_t vocab = c.shape.vocab_size;
  PreparedKernel kernel;
  kernel.bytes = static_cast<double>(batch * vocab) * kFloat;
  kernel.operations = static_cast<double>(batch * vocab);  // a comparison each, at least
  kernel.in_graph = false;
  kernel.limits.num_logit_rows = batch;
  kernel.limits.vocab_size = vocab;
  ASSIGN_OR_RETURN(kernel.copies,
                   plan_copies(backend, {kernel.bytes, kernel.bytes},
                               static_cast<double>(backend.scratch_bytes(kernel.limits)),
                               c.settings.rotated_bytes));
  auto memory = std::make_shared<BenchMemory>(backend, c.settings.seed);
  ASSIGN_OR_RETURN(float* logits, memory->random(kernel.copies * batch * vocab));
  RETURN_IF_ERROR(backend.reserve(kernel.limits));
  const std::vector<SampleRow> rows(static_cast<size_t>(batch), SampleRow{sampling, 1});
  auto tokens = std::make_shared<std::vector<int32_t>>(static_cast<size_t>(batch));
  kernel.run = [=, &backend](int64_t copy) {
    backend.sample({.logits = TensorView(logits + copy * batch * vocab, {batch, vocab}),
                    .rows = rows,
                    .tokens = *tokens});
  };
  kernel.memory = std::move(memory);
  return kernel;
}

}  // namespace

KernelWorkloads write_kv_workloads(const ShapedCase& c) { return write_workloads(c, false); }
KernelWorkloads rope_write_kv_workloads(const ShapedCase& c) { return write_workloads(c, true); }

KernelWorkloads sample_workloads(const ShapedCase& c) {
  struct Kind {
    const char* name;
    SamplingParams sampling;
  };
  KernelWorkloads list;
  for (const Kind& kind :
       {Kind{"greedy", {}}, Kind{"temperature 0.7, top-k 40, top-p 0.95",
                                 {.temperature = 0.7F, .top_k = 40, .top_p = 0.95F}}}) {
    list.push_back(
        {.op = "sample",
         .what = cat(kind.name, ", ", c.shape.vocab_size, " wide, batch ", c.settings.batch),
         .vendor = {},
         .prepare = [c, sampling = kind.sampling](Backend& backend) {
           return prepare_sample(backend, c, sampling);
         }});
  }
  return list;
}

}  // namespace lserve
