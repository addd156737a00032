// A layer of a Llama in floats, as calibration reads, scales and runs it.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "evaluation/calibration_attention.h"
#include "evaluation/calibration_math.h"

namespace lserve {

// A norm or a bias; empty where the model has none.
struct FloatVector {
  WeightFormat format = WeightFormat::kF32;  // that it is stored in
  std::vector<float> values;
};

struct LayerFloats {
  FloatMatrix q, k, v, o, gate, up, down;
  FloatVector attention_norm, mlp_norm, q_bias, k_bias, v_bias;
};

// kModel: damaged, or a value that is not finite.
Result<LayerFloats> read_layer(const Checkpoint& checkpoint, int64_t layer);
// Any tensor of plain floats. kModel, likewise.
Result<FloatMatrix> read_matrix(const Checkpoint& checkpoint, const std::string& name);
// As a file has them.
std::vector<std::byte> stored(const FloatVector& vector);

// What a layer computes stays the same if channels of an input are divided by a scale and whatever
// reads them is multiplied:
struct LayerScales {
  std::vector<float> qkv;      // [hidden]  divides the attention norm's weight
  std::vector<float> values;   // [kv_heads * head_dim]  divides rows of v, multiplies columns of o
  std::vector<float> gate_up;  // [hidden]  divides the MLP norm's weight
  std::vector<float> down;     // [intermediate]  divides rows of up
  std::vector<float> keys;     // [kv_heads * head_dim]  divides rows of k, multiplies rows of q
};
// Which value channel each column of o reads.
std::vector<int64_t> value_channels(const ModelConfig& config);
// Puts them into the weights. Those of the norms become what the norms' formats can express, so
// that the matrices undo them exactly.
void fold(const ModelConfig& config, LayerScales* scales, LayerFloats* layer);

// An order of the channels between up and down, from the largest to the smallest of `inputs`
// [tokens, intermediate]: a quant group of down then holds columns of one size, and errors of those
// that matter most are made good by all others.
std::vector<int64_t> inner_order(const FloatMatrix& inputs);
void reorder_inner(std::span<const int64_t> order, LayerFloats* layer);

// The inputs of the four groups of matrices, over all tokens.
struct LayerInputs {
  FloatMatrix qkv, o, gate_up, down;
  FloatMatrix q, k;  // turned
};

struct LayerRunner {
  const ModelConfig& config;
  const Segments& segments;
  Calculator& calculator;

  FloatMatrix norm(const FloatMatrix& hidden, const FloatVector& weight) const;
  // gate = silu(gate) * up
  void gate(FloatMatrix* gate, FloatMatrix* up) const;
  // x W^T + bias of a matrix in floats, or of rows in a format.
  Result<FloatMatrix> project(const FloatMatrix& x, const FloatMatrix& w,
                              const FloatVector& bias) const;
  Result<FloatMatrix> project(const FloatMatrix& x, const RawWeight& w,
                              const FloatVector& bias) const;
  // Takes `hidden` through the layer in floats. `between`: the hidden states after attention.
  Result<LayerInputs> run(const LayerFloats& layer, FloatMatrix* hidden,
                          FloatMatrix* between) const;
};

}  // namespace lserve
