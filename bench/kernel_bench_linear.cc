// Linear layers: the GEMM of prefill, the GEMV of decode, and the output matrix.
#include <memory>

#include "base/strings.h"
#include "kernel_bench_workloads.h"

namespace lserve::bench {

namespace {

// One linear call: matrices that share an input.
struct LinearCall {
  std::vector<Weight> weights;
  std::vector<Floats> outs;
  int64_t columns;

  LinearCall(Backend* backend, Random* random, WeightFormat format,
             std::initializer_list<int64_t> rows, int64_t in, int64_t tokens)
      : columns(in) {
    for (const int64_t n : rows) {
      const auto data = random_matrix(random, format, n, in);
      weights.push_back(std::move(backend->load_weight({format, n, in, data}).value()));
      outs.emplace_back(static_cast<size_t>(n * tokens));
    }
  }
  int64_t elements() const {
    int64_t sum = 0;
    for (const Weight& w : weights) sum += w.rows * w.columns;
    return sum;
  }
  int64_t bytes() const {
    int64_t sum = 0;
    for (const Weight& w : weights) sum += static_cast<int64_t>(w.data.bytes());
    return sum;
  }
  void run(Backend* backend, Floats& x) {
    std::vector<LinearOutput> outputs;
    for (size_t i = 0; i < weights.size(); ++i) {
      outputs.push_back({&weights[i], {}, view(outs[i], weights[i].rows), false});
    }
    backend->linear({view(x, columns), outputs});
  }
};

struct LayerStack {
  std::vector<LinearCall> calls;
  Floats x;       // [tokens, hidden]
  Floats x_wide;  // [tokens, ffn]

  LayerStack(Backend* backend, Random* random, int64_t layers, int64_t tokens)
      : x(normals(random, tokens * kHidden)), x_wide(normals(random, tokens * kFfn)) {
    constexpr auto kFormat = WeightFormat::kQ4_1;
    for (int64_t i = 0; i < layers; ++i) {
      calls.emplace_back(
          backend, random, kFormat,
          std::initializer_list<int64_t>{kHidden, kKvHeads * kHeadDim, kKvHeads * kHeadDim},
          kHidden, tokens);
      calls.emplace_back(backend, random, kFormat, std::initializer_list<int64_t>{kHidden}, kHidden,
                         tokens);
      calls.emplace_back(backend, random, kFormat, std::initializer_list<int64_t>{kFfn, kFfn},
                         kHidden, tokens);
      calls.emplace_back(backend, random, kFormat, std::initializer_list<int64_t>{kHidden}, kFfn,
                         tokens);
    }
  }
  void run(Backend* backend) {
    for (LinearCall& call : calls) call.run(backend, call.columns == kFfn ? x_wide : x);
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

Workload layer_linear(const Bench& bench, int64_t tokens) {
  Backend* backend = bench.backend;
  Backend* reference = bench.reference;
  Random* random = bench.random;
  auto stack = std::make_shared<LayerStack>(backend, random, kLayers, tokens);
  auto one = std::make_shared<LayerStack>(reference, random, 1, tokens);
  const bool decode = tokens == 1;
  return {cat("linear q4_1, all layers, ", tokens, decode ? " row" : " rows"),
          decode ? Bound::kMemory : Bound::kInt8,
          decode ? stack->bytes() : 2.0 * static_cast<double>(tokens) * stack->elements(),
          decode ? 0.75 : 0.50,
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
  list->push_back(layer_linear(bench, 512));
  list->push_back(layer_linear(bench, 1));
  list->push_back(head_linear(bench));
}

}  // namespace lserve::bench
