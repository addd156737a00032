// The weights of a Llama in a backend's layout, and the loading of them.
#pragma once

#include <functional>
#include <vector>

#include "base/status.h"
#include "checkpoint/checkpoint.h"
#include "kernels/backend.h"
#include "model/weight_choice.h"

namespace lserve {

class LoraAdapter;

// A float vector in the backend's memory; data() == nullptr where the model has none.
struct VectorWeight {
  Buffer buffer;
  int64_t size = 0;
  TensorView view() const {
    return size == 0 ? TensorView() : TensorView(buffer.as<float>(), {size});
  }
};

// One of the seven matrices of a layer, with its bias (q, k and v of Qwen2) and what an adapter
// adds.
struct Projection {
  Weight weight;      // [rows, columns]
  VectorWeight bias;  // [rows]
  Weight a, b;        // [rank, columns], [rows, rank]; rank 0: no adapter
  float scale = 1.0F;

  // This matrix as an output of Backend::linear: out = W x + ..., or out += with `accumulate`.
  LinearOutput output(const TensorView& out, bool accumulate = false) const;
};

struct LayerWeights {
  VectorWeight attention_norm, mlp_norm;  // [hidden]
  Projection q, k, v;                     // [heads * head_dim, hidden]
  Projection o;                           // [hidden, num_q_heads * head_dim]
  Projection gate, up;                    // [intermediate, hidden]
  Projection down;                        // [hidden, intermediate]
};

struct ModelWeights {
  Weight embedding;         // [vocab_size, hidden]
  Weight lm_head;           // the same shape; empty if the embedding serves (tied)
  VectorWeight final_norm;  // [hidden]
  std::vector<LayerWeights> layers;
  // Of all bytes read, of their formats and of those they were turned into: tells models of one
  // shape apart.
  uint64_t content_hash = 0;
  uint64_t adapter_hash = 0;  // the same of an adapter and its scales; 0: none

  const Weight& output() const { return lm_head.rows > 0 ? lm_head : embedding; }
};

// Bytes of the file read so far, of all that will be read.
using LoadProgress = std::function<void(uint64_t done, uint64_t total)>;

// Reads every tensor of the checkpoint, into the formats chosen. kModel: a file is damaged, changed
// meanwhile, or holds norms that are not finite; kMemory; kDevice: the backend has no kernels for a
// format. REQUIRES: check_weight_choice().
Result<ModelWeights> load_weights(const Checkpoint& checkpoint, const WeightChoice& choice,
                                  Backend& backend, const LoadProgress& progress);
// Puts the adapter, times `scale`, beside the matrices that it is for. kModel: its file is damaged,
// changed meanwhile, or holds a value that is not finite; kMemory. REQUIRES: the adapter was opened
// for this model.
Status load_adapter(const LoraAdapter& adapter, double scale, Backend& backend,
                    ModelWeights* weights);

// Bytes that load_weights and load_adapter will keep: for the memory plan.
int64_t planned_weight_bytes(const Checkpoint& checkpoint, const WeightChoice& choice,
                             const Backend& backend);
int64_t planned_adapter_bytes(const LoraAdapter& adapter, const Backend& backend);
// The largest total_rank() of the linear calls of a layer.
int64_t widest_low_rank(const LoraAdapter& adapter, int64_t num_layers);

}  // namespace lserve
