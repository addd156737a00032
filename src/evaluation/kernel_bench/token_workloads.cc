// What is done row by row: embed, rms_norm, silu_mul, rope.
#include <memory>

#include "base/random.h"
#include "base/strings.h"
#include "evaluation/kernel_bench/bench_memory.h"
#include "evaluation/kernel_bench/workload_makers.h"

namespace lserve {

namespace {

constexpr double kFloat = sizeof(float);

// What a call of an operation on [tokens, ...] floats reads and writes.
struct RowCounts {
  double floats = 0;      // of a token: read and written
  double extra = 0;       // bytes that all tokens share
  double operations = 0;  // of a token
};

// The tensors that a call needs, one copy after the other.
struct RowData {
  BenchMemory memory;
  int64_t tokens;

  RowData(Backend& backend, const ShapedCase& c)
      : memory(backend, c.settings.seed), tokens(c.tokens) {}
};

// A tensor of every copy: [tokens, width] each.
struct Rows {
  float* first = nullptr;
  int64_t tokens = 0;
  int64_t width = 0;

  float* of(int64_t copy) const { return first + copy * tokens * width; }
  TensorView view(int64_t copy) const { return {of(copy), {tokens, width}}; }
  TensorView heads(int64_t copy, int64_t head_dim) const {
    return {of(copy), {tokens, width / head_dim, head_dim}};
  }
};

Result<PreparedKernel> begin(Backend& backend, const ShapedCase& c, const RowCounts& counts) {
  const auto tokens = static_cast<double>(c.tokens);
  PreparedKernel kernel;
  kernel.bytes = tokens * counts.floats * kFloat + counts.extra;
  kernel.operations = tokens * counts.operations;
  const double copy_bytes = tokens * counts.floats * kFloat;
  ASSIGN_OR_RETURN(kernel.copies, plan_copies(backend, {copy_bytes, copy_bytes}, counts.extra,
                                              c.settings.rotated_bytes));
  RETURN_IF_ERROR(backend.reserve(kernel.limits));
  return kernel;
}

Result<Rows> make_rows(RowData* data, int64_t width, int64_t copies) {
  Rows rows{nullptr, data->tokens, width};
  ASSIGN_OR_RETURN(rows.first, data->memory.random(copies * data->tokens * width));
  return rows;
}

KernelWorkloads one(const ShapedCase& c, int64_t width,
                    Result<PreparedKernel> (*prepare)(Backend&, const ShapedCase&)) {
  return {{.op = c.settings.op,
           .what = cat(width, " wide, ", rows_text(c.tokens)),
           .vendor = {},
           .prepare = [c, prepare](Backend& backend) { return prepare(backend, c); }}};
}

Result<PreparedKernel> prepare_rms_norm(Backend& backend, const ShapedCase& c) {
  const int64_t width = c.shape.hidden_size;
  const auto n = static_cast<double>(width);
  // x x, its sum, times the scale, times the weight.
  ASSIGN_OR_RETURN(PreparedKernel kernel, begin(backend, c, {2 * n, n * kFloat, 4 * n}));
  auto data = std::make_shared<RowData>(backend, c);
  ASSIGN_OR_RETURN(const Rows x, make_rows(data.get(), width, kernel.copies));
  ASSIGN_OR_RETURN(const Rows out, make_rows(data.get(), width, kernel.copies));
  ASSIGN_OR_RETURN(float* weight, data->memory.random(width));
  kernel.run = [&backend, x, out, weight, width](int64_t copy) {
    backend.rms_norm({x.view(copy), {weight, {width}}, out.view(copy)});
  };
  kernel.memory = std::move(data);
  return kernel;
}

Result<PreparedKernel> prepare_silu_mul(Backend& backend, const ShapedCase& c) {
  const int64_t width = c.shape.intermediate_size;
  const auto n = static_cast<double>(width);
  // exp, a sum, a quotient, times up. Not in place, as the model does it: the same bytes, and the
  // next round finds the same numbers.
  ASSIGN_OR_RETURN(PreparedKernel kernel, begin(backend, c, {3 * n, 0, 4 * n}));
  auto data = std::make_shared<RowData>(backend, c);
  ASSIGN_OR_RETURN(const Rows gate, make_rows(data.get(), width, kernel.copies));
  ASSIGN_OR_RETURN(const Rows up, make_rows(data.get(), width, kernel.copies));
  ASSIGN_OR_RETURN(const Rows out, make_rows(data.get(), width, kernel.copies));
  kernel.run = [&backend, gate, up, out](int64_t copy) {
    backend.silu_mul({gate.view(copy), up.view(copy), out.view(copy)});
  };
  kernel.memory = std::move(data);
  return kernel;
}

Result<PreparedKernel> prepare_rope(Backend& backend, const ShapedCase& c) {
  const int64_t head_dim = c.shape.head_dim;
  const auto n = static_cast<double>(c.q_width() + c.kv_width());
  const auto angles = static_cast<double>(head_dim);
  ASSIGN_OR_RETURN(PreparedKernel kernel, begin(backend, c, {2 * n + angles, 0, 3 * n}));
  auto data = std::make_shared<RowData>(backend, c);
  ASSIGN_OR_RETURN(const Rows q, make_rows(data.get(), c.q_width(), kernel.copies));
  ASSIGN_OR_RETURN(const Rows k, make_rows(data.get(), c.kv_width(), kernel.copies));
  // All angles 45 degrees: what is turned in place again and again stays of one length.
  const std::vector<float> turns(static_cast<size_t>(kernel.copies * c.tokens * head_dim),
                                 0.70710678F);
  ASSIGN_OR_RETURN(const auto cos_sin, data->memory.list(turns));
  kernel.run = [&backend, q, k, head_dim, tokens = c.tokens, cos_sin](int64_t copy) {
    backend.rope({q.heads(copy, head_dim),
                  k.heads(copy, head_dim),
                  {cos_sin.data() + copy * tokens * head_dim, {tokens, 2, head_dim / 2}}});
  };
  kernel.memory = std::move(data);
  return kernel;
}

Result<PreparedKernel> prepare_embed(Backend& backend, const ShapedCase& c) {
  const int64_t width = c.shape.hidden_size;
  const auto n = static_cast<double>(width);
  RETURN_IF_ERROR(check_fits(backend, static_cast<double>(backend.weight_bytes(
                                          WeightFormat::kBF16, c.shape.vocab_size, width))));
  auto data = std::make_shared<RowData>(backend, c);
  ASSIGN_OR_RETURN(const Weight* table, data->memory.random_weight(c.shape.vocab_size, width));
  // A row of the table, as it is stored, and one of the result.
  const double stored =
      static_cast<double>(table->data.bytes()) / static_cast<double>(c.shape.vocab_size);
  ASSIGN_OR_RETURN(PreparedKernel kernel, begin(backend, c, {n + stored / kFloat, 0, 0}));
  Random random(c.settings.seed);
  std::vector<int32_t> ids(static_cast<size_t>(kernel.copies * c.tokens));
  for (int32_t& id : ids) id = static_cast<int32_t>(random.integer(0, c.shape.vocab_size - 1));
  ASSIGN_OR_RETURN(const auto token_ids, data->memory.list(ids));
  ASSIGN_OR_RETURN(const Rows out, make_rows(data.get(), width, kernel.copies));
  kernel.run = [&backend, table, out, token_ids](int64_t copy) {
    const auto count = static_cast<size_t>(out.tokens);
    backend.embed(
        {table, token_ids.subspan(static_cast<size_t>(copy) * count, count), out.view(copy)});
  };
  kernel.memory = std::move(data);
  return kernel;
}

}  // namespace

KernelWorkloads rms_norm_workloads(const ShapedCase& c) {
  return one(c, c.shape.hidden_size, prepare_rms_norm);
}
KernelWorkloads silu_mul_workloads(const ShapedCase& c) {
  return one(c, c.shape.intermediate_size, prepare_silu_mul);
}
KernelWorkloads rope_workloads(const ShapedCase& c) {
  return one(c, c.q_width() + c.kv_width(), prepare_rope);
}
KernelWorkloads embed_workloads(const ShapedCase& c) {
  return one(c, c.shape.hidden_size, prepare_embed);
}

}  // namespace lserve
