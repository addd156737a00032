// The weights of a Llama in a backend's layout, and the loading of them.
#pragma once

#include <functional>
#include <vector>

#include "base/status.h"
#include "checkpoint/checkpoint.h"
#include "kernels/backend.h"

namespace lserve {

// A float vector in the backend's memory; data() == nullptr where the model has none.
struct VectorWeight {
  Buffer buffer;
  int64_t size = 0;
  TensorView view() const {
    return size == 0 ? TensorView() : TensorView(buffer.as<float>(), {size});
  }
};

struct LayerWeights {
  VectorWeight attention_norm, mlp_norm;  // [hidden]
  Weight q, k, v;                         // [heads * head_dim, hidden]
  VectorWeight q_bias, k_bias, v_bias;    // [heads * head_dim], Qwen2 only
  Weight o;                               // [hidden, num_q_heads * head_dim]
  Weight gate, up;                        // [intermediate, hidden]
  Weight down;                            // [hidden, intermediate]
};

struct ModelWeights {
  Weight embedding;         // [vocab_size, hidden]
  Weight lm_head;           // the same shape; empty if the embedding serves (tied)
  VectorWeight final_norm;  // [hidden]
  std::vector<LayerWeights> layers;

  const Weight& output() const { return lm_head.rows > 0 ? lm_head : embedding; }
};

// Bytes of the file read so far, of all that will be read.
using LoadProgress = std::function<void(uint64_t done, uint64_t total)>;

// Reads every tensor of the checkpoint. kModel: a file is damaged, changed meanwhile, or holds
// norms that are not finite; kMemory.
Result<ModelWeights> load_weights(const Checkpoint& checkpoint, Backend& backend,
                                  const LoadProgress& progress);

// Bytes that load_weights will keep: for the memory plan.
int64_t planned_weight_bytes(const Checkpoint& checkpoint, const Backend& backend);

}  // namespace lserve
