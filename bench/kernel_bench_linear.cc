// Linear layers: the GEMM of prefill, the GEMV of decode, and the output matrix.
#include <memory>

#include "base/strings.h"
#include "kernel_bench_workloads.h"

namespace lserve::bench {

namespace {

// One linear call: matrices that share an input, each with a low-rank term if rank > 0.
struct LinearCall {
  std::vector<Weight> weights;
  std::vector<Weight> a, b;
  std::vector<Floats> outs;
  Floats scratch;
  int64_t columns;

  LinearCall(Backend* backend, Random* random, WeightFormat format,
             std::initializer_list<int64_t> rows, int64_t in, int64_t tokens, int64_t rank = 0)
      : scratch(rows.size() * static_cast<size_t>(rank * tokens)), columns(in) {
    const auto load = [&](WeightFormat f, int64_t n, int64_t k) {
      return std::move(backend->load_weight({f, n, k, random_matrix(random, f, n, k)}).value());
    };
    for (const int64_t n : rows) {
      weights.push_back(load(format, n, in));
      outs.emplace_back(static_cast<size_t>(n * tokens));
      if (rank == 0) continue;
      a.push_back(load(WeightFormat::kBF16, rank, in));
      b.push_back(load(WeightFormat::kBF16, n, rank));
    }
  }
  int64_t elements() const {
    int64_t sum = 0;
    for (const auto* list : {&weights, &a, &b}) {
      for (const Weight& w : *list) sum += w.rows * w.columns;
    }
    return sum;
  }
  int64_t bytes() const {
    int64_t sum = 0;
    for (const auto* list : {&weights, &a, &b}) {
      for (const Weight& w : *list) sum += static_cast<int64_t>(w.data.bytes());
    }
    return sum;
  }
  void run(Backend* backend, Floats& x) {
    std::vector<LinearOutput> outputs;
    for (size_t i = 0; i < weights.size(); ++i) {
      outputs.push_back({&weights[i], {}, view(outs[i], weights[i].rows), false});
      if (!a.empty()) outputs.back().low_rank = {&a[i], &b[i], 2.0F};
    }
    LinearParams params{.x = view(x, columns), .outputs = outputs};
    if (!a.empty()) params.low_rank_scratch = view(scratch, total_rank(outputs));
    backend->linear(params);
  }
};

struct StackShape {
  const char* name;  // of the format
  WeightFormat format;
  int64_t hidden, kv, ffn;  // columns or rows of a layer's matrices
  int64_t rank = 0;         // of an adapter on all of them

  // Whether x is multiplied in integers.
  bool integers() const { return format != WeightFormat::kFp8 && format != WeightFormat::kW4A16; }
};
constexpr int64_t kKv = kKvHeads * kHeadDim;
constexpr StackShape kSmolLm2 = {"q4_1", WeightFormat::kQ4_1, kHidden, kKv, kFfn};
constexpr StackShape kWithLora = {"q4_1 + LoRA 32", WeightFormat::kQ4_1, kHidden, kKv, kFfn, 32};

struct LayerStack {
  std::vector<LinearCall> calls;
  Floats x;       // [tokens, hidden]
  Floats x_wide;  // [tokens, ffn]

  LayerStack(Backend* backend, Random* random, const StackShape& shape, int64_t layers,
             int64_t tokens)
      : x(normals(random, tokens * shape.hidden)), x_wide(normals(random, tokens * shape.ffn)) {
    using Rows = std::initializer_list<int64_t>;
    for (int64_t i = 0; i < layers; ++i) {
      const auto add = [&](Rows rows, int64_t in) {
        calls.emplace_back(backend, random, shape.format, rows, in, tokens, shape.rank);
      };
      add({shape.hidden, shape.kv, shape.kv}, shape.hidden);
      add({shape.hidden}, shape.hidden);
      add({shape.ffn, shape.ffn}, shape.hidden);
      add({shape.hidden}, shape.ffn);
    }
  }
  void run(Backend* backend) {
    for (size_t i = 0; i < calls.size(); ++i) calls[i].run(backend, i % 4 == 3 ? x_wide : x);
  }
  double elements() const {
    double sum = 0;
    for (const LinearCall& call : calls) sum += static_cast<double>(call.elements());
    return sum;
  }
  double bytes() const {
    double sum = 0;
    for (const LinearCall& call : calls) sum += static_cast<double>(call.bytes());
    return sum;
  }
};

Workload layer_linear(const Bench& bench, const StackShape& shape, int64_t tokens) {
  Backend* backend = bench.backend;
  Backend* reference = bench.reference;
  Random* random = bench.random;
  auto stack = std::make_shared<LayerStack>(backend, random, shape, kLayers, tokens);
  auto one = std::make_shared<LayerStack>(reference, random, shape, 1, tokens);
  const bool decode = tokens == 1;
  return {cat("linear ", shape.name, ", all layers, ", tokens, decode ? " row" : " rows"),
          decode             ? Bound::kMemory
          : shape.integers() ? Bound::kInt8
                             : Bound::kFp32,
          decode ? stack->bytes() : 2.0 * static_cast<double>(tokens) * stack->elements(),
          shape.rank > 0 ? 0
          : decode       ? 0.75
                         : 0.50,  // float sums are of another kind
          [=] { stack->run(backend); },
          [=] { one->run(reference); },
          1.0 / kLayers};
}

Workload head_linear(const Bench& bench) {
  Backend* backend = bench.backend;
  Backend* reference = bench.reference;
  Random* random = bench.random;
  constexpr auto kFormat = WeightFormat::kQ8_0;
  constexpr int kCopies = 4;  // 120 MB: one alone could stay in a large cache
  const auto rows = {kVocab};
  auto calls = std::make_shared<std::vector<LinearCall>>();
  for (int i = 0; i < kCopies; ++i) {
    calls->emplace_back(backend, random, kFormat, rows, kHidden, 1);
  }
  auto plain = std::make_shared<LinearCall>(reference, random, kFormat, rows, kHidden, 1);
  auto x = std::make_shared<Floats>(normals(random, kHidden));
  return {cat("linear q8_0, 49152 outputs, 1 row, ", kCopies, " copies"),
          Bound::kMemory,
          kCopies * static_cast<double>(calls->front().bytes()),
          0.75,
          [=] {
            for (LinearCall& call : *calls) call.run(backend, *x);
          },
          [=] { plain->run(reference, *x); },
          1.0 / kCopies};
}

}  // namespace

void add_linear(const Bench& bench, std::vector<Workload>* list) {
  list->push_back(layer_linear(bench, kSmolLm2, 512));
  list->push_back(layer_linear(bench, kSmolLm2, 1));
  list->push_back(layer_linear(bench, kWithLora, 512));
  list->push_back(layer_linear(bench, kWithLora, 1));
  list->push_back(head_linear(bench));
  // The other formats, in a layer of about that size whose rows are whole super-blocks.
  for (const StackShape& shape : {StackShape{"q4_0", WeightFormat::kQ4_0, 512, 256, kFfn},
                                  StackShape{"q4_k", WeightFormat::kQ4_K, 512, 256, kFfn},
                                  StackShape{"q6_k", WeightFormat::kQ6_K, 512, 256, kFfn}}) {
    list->push_back(layer_linear(bench, shape, 512));
    list->push_back(layer_linear(bench, shape, 1));
  }
  for (const WeightFormat format : kRowFormats) {
    const StackShape shape{weight_format_name(format), format, kHidden, kKv, kFfn};
    list->push_back(layer_linear(bench, shape, 512));
    list->push_back(layer_linear(bench, shape, 1));
  }
}

}  // namespace lserve::bench
