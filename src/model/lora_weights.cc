// The loading of an adapter (weights.h).
#include <algorithm>
#include <array>
#include <cmath>

#include "base/hash.h"
#include "base/strings.h"
#include "checkpoint/lora_adapter.h"
#include "model/weights.h"

namespace lserve {

namespace {

struct Place {
  const char* module;
  Projection LayerWeights::*projection;
  int call;  // of the layer's four linear calls, whose outputs share an input
};
constexpr std::array<Place, 7> kPlaces = {{
    {"self_attn.q_proj", &LayerWeights::q, 0},
    {"self_attn.k_proj", &LayerWeights::k, 0},
    {"self_attn.v_proj", &LayerWeights::v, 0},
    {"self_attn.o_proj", &LayerWeights::o, 1},
    {"mlp.gate_proj", &LayerWeights::gate, 2},
    {"mlp.up_proj", &LayerWeights::up, 2},
    {"mlp.down_proj", &LayerWeights::down, 3},
}};

const LoraPair* find_pair(const LoraAdapter& adapter, int64_t layer, const Place& place) {
  return adapter.find(cat("model.layers.", layer, ".", place.module));
}

Result<Weight> load_matrix(const LoraAdapter& adapter, const SafetensorsEntry& tensor,
                           Backend& backend, uint64_t* hash) {
  std::vector<std::byte> bytes(tensor.bytes);
  RETURN_IF_ERROR(adapter.read_tensor(tensor, bytes));
  *hash = hash64(bytes, *hash);
  std::vector<float> values(static_cast<size_t>(tensor.shape[0] * tensor.shape[1]));
  dequantise_row(*tensor.format, bytes, values);
  if (!std::ranges::all_of(values, [](float value) { return std::isfinite(value); })) {
    return model_error(cat(adapter.directory(), ": tensor ", quoted(tensor.name),
                           " holds a value that is not finite"));
  }
  return backend.load_weight({*tensor.format, tensor.shape[0], tensor.shape[1], bytes});
}

}  // namespace

Status load_adapter(const LoraAdapter& adapter, double scale, Backend& backend,
                    ModelWeights* weights) {
  size_t num_used = 0;
  for (size_t layer = 0; layer < weights->layers.size(); ++layer) {
    for (const Place& place : kPlaces) {
      const LoraPair* pair = find_pair(adapter, static_cast<int64_t>(layer), place);
      if (pair == nullptr) continue;
      Projection& projection = weights->layers[layer].*place.projection;
      // The pair's place and scale belong to what the adapter is, as its numbers do.
      uint64_t& hash = weights->adapter_hash;
      hash = hash64(std::as_bytes(std::span(pair->module)), hash);
      ASSIGN_OR_RETURN(projection.a, load_matrix(adapter, pair->a, backend, &hash));
      ASSIGN_OR_RETURN(projection.b, load_matrix(adapter, pair->b, backend, &hash));
      projection.scale = static_cast<float>(pair->scale * scale);
      hash = hash64(std::as_bytes(std::span(&projection.scale, 1)), hash);
      ++num_used;
    }
  }
  CHECK_EQ(num_used, adapter.pairs().size());
  return adapter.verify_unchanged();
}

int64_t planned_adapter_bytes(const LoraAdapter& adapter, const Backend& backend) {
  int64_t total = 0;
  for (const LoraPair& pair : adapter.pairs()) {
    for (const SafetensorsEntry* tensor : {&pair.a, &pair.b}) {
      total += backend.weight_bytes(*tensor->format, tensor->shape[0], tensor->shape[1]);
    }
  }
  return total;
}

int64_t widest_low_rank(const LoraAdapter& adapter, int64_t num_layers) {
  int64_t widest = 0;
  for (int64_t layer = 0; layer < num_layers; ++layer) {
    std::array<int64_t, 4> columns{};
    for (const Place& place : kPlaces) {
      const LoraPair* pair = find_pair(adapter, layer, place);
      if (pair != nullptr) columns[static_cast<size_t>(place.call)] += pair->rank();
    }
    widest = std::max(widest, std::ranges::max(columns));
  }
  return widest;
}

}  // namespace lserve
