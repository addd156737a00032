// Linear layers: every matrix product of a layer and the output head, as model/llama.cc calls them.
#include <memory>

#include "base/strings.h"
#include "evaluation/kernel_bench/bench_memory.h"
#include "evaluation/kernel_bench/workload_makers.h"

namespace lserve {

namespace {

// As many rows as sequences that decode together: the kernels for few rows; more are a chunk.
constexpr int64_t kMostFewRows = 64;

struct Projection {
  const char* name;
  std::vector<int64_t> rows;  // of the matrices that share the input
  int64_t columns;
  bool accumulate = false;
  bool precise = false;

  int64_t total_rows() const {
    int64_t sum = 0;
    for (const int64_t n : rows) sum += n;
    return sum;
  }
};

std::vector<Projection> projections(const ShapedCase& c) {
  const int64_t hidden = c.shape.hidden_size;
  const int64_t wide = c.shape.intermediate_size;
  std::vector<Projection> list = {{"qkv", {c.q_width(), c.kv_width(), c.kv_width()}, hidden},
                                  {"o", {hidden}, c.q_width(), true},
                                  {"gate_up", {wide, wide}, hidden},
                                  {"down", {hidden}, wide, true}};
  // Logits are made of single rows, whatever the chunk.
  if (c.tokens <= kMostFewRows) {
    list.push_back(
        {.name = "lm_head", .rows = {c.shape.vocab_size}, .columns = hidden, .precise = true});
  }
  return list;
}

struct LinearData {
  BenchMemory memory;
  std::vector<std::vector<LinearOutput>> outputs;  // [copies]
  TensorView x;

  LinearData(Backend& backend, uint64_t seed) : memory(backend, seed) {}
};

Result<PreparedKernel> prepare(Backend& backend, const Projection& p, const ShapedCase& c) {
  const int64_t tokens = c.tokens;
  const auto rows = static_cast<double>(p.total_rows());
  const auto columns = static_cast<double>(p.columns);
  const auto m = static_cast<double>(tokens);
  double held = 0;
  for (const int64_t n : p.rows) {
    held += static_cast<double>(backend.weight_bytes(c.settings.weights, n, p.columns));
  }
  PreparedKernel kernel;
  const double activations = 4 * m * (columns + rows);
  kernel.operations = 2 * m * rows * columns;
  kernel.limits.num_tokens = tokens;
  kernel.limits.num_columns = p.columns;
  const auto scratch = static_cast<double>(backend.scratch_bytes(kernel.limits));
  ASSIGN_OR_RETURN(kernel.copies, plan_copies(backend, {held, held}, activations + scratch,
                                              c.settings.rotated_bytes));
  auto data = std::make_shared<LinearData>(backend, c.settings.seed);
  ASSIGN_OR_RETURN(float* x, data->memory.random(tokens * p.columns));
  data->x = TensorView(x, {tokens, p.columns});
  ASSIGN_OR_RETURN(float* out, data->memory.zeros(tokens * p.total_rows()));
  for (int64_t copy = 0; copy < kernel.copies; ++copy) {
    std::vector<LinearOutput>& outputs = data->outputs.emplace_back();
    float* next = out;
    for (const int64_t n : p.rows) {
      ASSIGN_OR_RETURN(const Weight* weight,
                       data->memory.random_weight(n, p.columns, c.settings.weights));
      outputs.push_back(
          {.weight = weight, .out = TensorView(next, {tokens, n}), .accumulate = p.accumulate});
      next += tokens * n;
    }
  }
  kernel.bytes = activations + (p.accumulate ? 4 * m * rows : 0);
  for (const LinearOutput& output : data->outputs[0]) {
    kernel.bytes += static_cast<double>(output.weight->data.bytes());
  }
  RETURN_IF_ERROR(backend.reserve(kernel.limits));
  const RowCount row_count = tokens <= kMostFewRows ? RowCount::kFew : RowCount::kMany;
  kernel.run = [d = data.get(), row_count, precise = p.precise](int64_t copy) {
    d->memory.backend().linear({.x = d->x,
                                .outputs = d->outputs[static_cast<size_t>(copy)],
                                .precise = precise,
                                .rows = row_count});
  };
  kernel.memory = std::move(data);
  return kernel;
}

}  // namespace

KernelWorkloads linear_workloads(const ShapedCase& c) {
  KernelWorkloads list;
  const WeightFormat weights = c.settings.weights;
  const std::string format =
      weights == WeightFormat::kBF16 ? "" : cat(" ", weight_format_name(weights));
  for (const Projection& p : projections(c)) {
    list.push_back({.op = "linear",
                    .what = cat(p.name, " ", p.total_rows(), " x ", p.columns, format, ", ",
                                rows_text(c.tokens)),
                    .vendor = ProductProblem{p.total_rows(), p.columns, c.tokens},
                    .prepare = [p, c](Backend& backend) { return prepare(backend, p, c); }});
  }
  return list;
}

}  // namespace lserve
