#include "evaluation/calibration_layer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>

#include "base/check.h"
#include "base/strings.h"

namespace lserve {

namespace {

Result<std::vector<float>> read_floats(const Checkpoint& checkpoint, const TensorInfo& tensor) {
  std::vector<std::byte> bytes(tensor.bytes);
  RETURN_IF_ERROR(checkpoint.read_tensor(tensor, bytes));
  const auto columns = static_cast<uint64_t>(tensor.shape.back());
  const uint64_t row_size = row_bytes(tensor.format, columns).value();
  std::vector<float> values(bytes.size() / row_size * columns);
  for (size_t row = 0; row * row_size < bytes.size(); ++row) {
    dequantise_row(tensor.format, std::span(bytes).subspan(row * row_size, row_size),
                   std::span(values).subspan(row * columns, columns));
  }
  if (std::ranges::all_of(values, [](float value) { return std::isfinite(value); })) return values;
  return model_error(cat(tensor.name, ": holds a value that is not finite"));
}

Result<FloatVector> read_vector(const Checkpoint& checkpoint, const std::string& name,
                                bool optional) {
  const TensorInfo* tensor = checkpoint.find(name);
  if (tensor == nullptr) {
    if (optional) return FloatVector();
    return model_error(cat("the checkpoint has no tensor ", name));
  }
  FloatVector vector{tensor->format, {}};
  ASSIGN_OR_RETURN(vector.values, read_floats(checkpoint, *tensor));
  return vector;
}

template <typename T>
std::vector<std::byte> rounded(std::span<const float> values, T (*round)(float)) {
  std::vector<std::byte> bytes(values.size() * sizeof(T));
  for (size_t i = 0; i < values.size(); ++i) {
    const T value = round(values[i]);
    std::memcpy(bytes.data() + i * sizeof(T), &value, sizeof(T));
  }
  return bytes;
}

// What the format makes of them.
void read_back(FloatVector* vector) {
  dequantise_row(vector->format, stored(*vector), vector->values);
}

std::vector<float> inverse(std::span<const float> scales) {
  std::vector<float> inverse;
  for (const float scale : scales) inverse.push_back(1 / scale);
  return inverse;
}

void multiply(std::span<const float> factors, FloatVector* vector) {
  if (vector->values.empty()) return;
  CHECK_EQ(factors.size(), vector->values.size());
  for (size_t i = 0; i < factors.size(); ++i) vector->values[i] *= factors[i];
}

// A scale becomes the ratio of the norm's weight before and after.
void divide_norm(std::vector<float>* scales, FloatVector* norm) {
  const std::vector<float> before = norm->values;
  multiply(inverse(*scales), norm);
  read_back(norm);
  for (size_t c = 0; c < before.size(); ++c) {
    const float ratio = before[c] / norm->values[c];
    const bool usable = before[c] != 0 && norm->values[c] != 0 && std::isfinite(norm->values[c]) &&
                        std::isfinite(ratio);
    if (!usable) norm->values[c] = before[c];
    (*scales)[c] = usable ? ratio : 1.0F;
  }
}

}  // namespace

Result<FloatMatrix> read_matrix(const Checkpoint& checkpoint, const std::string& name) {
  const TensorInfo* tensor = checkpoint.find(name);
  if (tensor == nullptr) return model_error(cat("the checkpoint has no tensor ", name));
  FloatMatrix matrix;
  matrix.rows = tensor->shape[0];
  matrix.columns = tensor->shape[1];
  ASSIGN_OR_RETURN(matrix.values, read_floats(checkpoint, *tensor));
  return matrix;
}

Result<LayerFloats> read_layer(const Checkpoint& checkpoint, int64_t layer) {
  const auto name = [&](const char* tensor) { return cat("model.layers.", layer, ".", tensor); };
  LayerFloats out;
  for (const auto& [matrix, tensor] : {std::pair(&out.q, "self_attn.q_proj.weight"),
                                       {&out.k, "self_attn.k_proj.weight"},
                                       {&out.v, "self_attn.v_proj.weight"},
                                       {&out.o, "self_attn.o_proj.weight"},
                                       {&out.gate, "mlp.gate_proj.weight"},
                                       {&out.up, "mlp.up_proj.weight"},
                                       {&out.down, "mlp.down_proj.weight"}}) {
    ASSIGN_OR_RETURN(*matrix, read_matrix(checkpoint, name(tensor)));
  }
  for (const auto& [norm, tensor] : {std::pair(&out.attention_norm, "input_layernorm.weight"),
                                     {&out.mlp_norm, "post_attention_layernorm.weight"}}) {
    ASSIGN_OR_RETURN(*norm, read_vector(checkpoint, name(tensor), /*optional=*/false));
  }
  for (const auto& [bias, tensor] : {std::pair(&out.q_bias, "self_attn.q_proj.bias"),
                                     {&out.k_bias, "self_attn.k_proj.bias"},
                                     {&out.v_bias, "self_attn.v_proj.bias"}}) {
    ASSIGN_OR_RETURN(*bias, read_vector(checkpoint, name(tensor), /*optional=*/true));
  }
  return out;
}

std::vector<std::byte> stored(const FloatVector& vector) {
  switch (vector.format) {
    case WeightFormat::kF32: {
      const auto bytes = std::as_bytes(std::span(vector.values));
      return {bytes.begin(), bytes.end()};
    }
    case WeightFormat::kF16:
      return rounded<f16>(vector.values, to_f16);
    case WeightFormat::kBF16:
      return rounded<bf16>(vector.values, to_bf16);
    default:
      CHECK(false && "norms and biases are plain floats");
  }
  return {};
}

std::vector<int64_t> value_channels(const ModelConfig& config) {
  std::vector<int64_t> channels;
  for (int64_t head = 0; head < config.num_q_heads; ++head) {
    const int64_t first = head / config.gqa_group_size() * config.head_dim;
    for (int64_t c = 0; c < config.head_dim; ++c) channels.push_back(first + c);
  }
  return channels;
}

void fold(const ModelConfig& config, LayerScales* scales, LayerFloats* layer) {
  divide_norm(&scales->qkv, &layer->attention_norm);
  divide_norm(&scales->gate_up, &layer->mlp_norm);
  for (FloatMatrix* w : {&layer->q, &layer->k, &layer->v}) scale_columns(scales->qkv, w);
  for (FloatMatrix* w : {&layer->gate, &layer->up}) scale_columns(scales->gate_up, w);
  scale_rows(inverse(scales->values), &layer->v);
  multiply(inverse(scales->values), &layer->v_bias);
  scale_rows(inverse(scales->down), &layer->up);
  scale_columns(scales->down, &layer->down);
  scale_rows(inverse(scales->keys), &layer->k);
  multiply(inverse(scales->keys), &layer->k_bias);
  std::vector<float> of_columns;
  std::vector<float> of_queries;
  for (const int64_t channel : value_channels(config)) {
    of_columns.push_back(scales->values[static_cast<size_t>(channel)]);
    of_queries.push_back(scales->keys[static_cast<size_t>(channel)]);
  }
  scale_columns(of_columns, &layer->o);
  scale_rows(of_queries, &layer->q);
  multiply(of_queries, &layer->q_bias);
  for (FloatVector* bias : {&layer->q_bias, &layer->k_bias, &layer->v_bias}) {
    if (!bias->values.empty()) read_back(bias);
  }
}

std::vector<int64_t> inner_order(const FloatMatrix& inputs) {
  std::vector<double> squares(static_cast<size_t>(inputs.columns));
  for (int64_t r = 0; r < inputs.rows; ++r) {
    const std::span<const float> row = inputs.row(r);
    for (size_t c = 0; c < row.size(); ++c) squares[c] += double{row[c]} * double{row[c]};
  }
  std::vector<int64_t> order(squares.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, std::greater(),
                           [&](int64_t c) { return squares[static_cast<size_t>(c)]; });
  return order;
}

void reorder_inner(std::span<const int64_t> order, LayerFloats* layer) {
  reorder_rows(order, &layer->gate);
  reorder_rows(order, &layer->up);
  reorder_columns(order, &layer->down);
}

FloatMatrix LayerRunner::norm(const FloatMatrix& hidden, const FloatVector& weight) const {
  FloatMatrix out(hidden.rows, hidden.columns);
  // rms_norm() only reads x and the weight.
  calculator.backend.rms_norm(
      {.x = {const_cast<float*>(hidden.values.data()), {hidden.rows, hidden.columns}},
       .weight = {const_cast<float*>(weight.values.data()), {hidden.columns}},
       .out = out.view(),
       .epsilon = static_cast<float>(config.rms_norm_eps)});
  calculator.backend.synchronize();
  return out;
}

void LayerRunner::gate(FloatMatrix* gate, FloatMatrix* up) const {
  calculator.backend.silu_mul({.gate = gate->view(), .up = up->view(), .out = gate->view()});
  calculator.backend.synchronize();
}

Result<FloatMatrix> LayerRunner::project(const FloatMatrix& x, const FloatMatrix& w,
                                         const FloatVector& bias) const {
  return project(
      x, RawWeight{WeightFormat::kF32, w.rows, w.columns, std::as_bytes(std::span(w.values))},
      bias);
}

Result<FloatMatrix> LayerRunner::project(const FloatMatrix& x, const RawWeight& w,
                                         const FloatVector& bias) const {
  FloatMatrix out;
  RETURN_IF_ERROR(calculator.multiply(x, w, &out));
  if (bias.values.empty()) return out;
  for (int64_t r = 0; r < out.rows; ++r) {
    const std::span<float> row = out.row(r);
    for (size_t c = 0; c < row.size(); ++c) row[c] += bias.values[c];
  }
  return out;
}

Result<LayerInputs> LayerRunner::run(const LayerFloats& layer, FloatMatrix* hidden,
                                     FloatMatrix* between) const {
  LayerInputs in;
  in.qkv = norm(*hidden, layer.attention_norm);
  ASSIGN_OR_RETURN(in.q, project(in.qkv, layer.q, layer.q_bias));
  ASSIGN_OR_RETURN(in.k, project(in.qkv, layer.k, layer.k_bias));
  ASSIGN_OR_RETURN(const FloatMatrix v, project(in.qkv, layer.v, layer.v_bias));
  turn(segments, config.head_dim, &in.q, &calculator.pool);
  turn(segments, config.head_dim, &in.k, &calculator.pool);
  in.o = attend(config, segments, in.q, in.k, v, &calculator.pool);
  RETURN_IF_ERROR(calculator.multiply(in.o, layer.o, hidden, /*accumulate=*/true));
  *between = *hidden;
  in.gate_up = norm(*hidden, layer.mlp_norm);
  ASSIGN_OR_RETURN(in.down, project(in.gate_up, layer.gate, {}));
  ASSIGN_OR_RETURN(FloatMatrix up, project(in.gate_up, layer.up, {}));
  gate(&in.down, &up);
  RETURN_IF_ERROR(calculator.multiply(in.down, layer.down, hidden, /*accumulate=*/true));
  return in;
}

}  // namespace lserve
