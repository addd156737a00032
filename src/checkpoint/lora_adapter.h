// A PEFT LoRA adapter on disk: adapter_config.json and adapter_model.safetensors in a directory,
// and perhaps the config.json of the model that it makes of its base.
//
// Headers only are read by open(). Every file is untrusted, as those of a checkpoint are
// (checkpoint.h); every error is ErrorKind::kModel and names file, tensor and remedy.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "checkpoint/model_config.h"
#include "checkpoint/safetensors.h"

namespace lserve {

// What is added to one matrix W of the base:  y = W x + scale * B (A x).
struct LoraPair {
  std::string module;  // "model.layers.0.self_attn.q_proj"
  SafetensorsEntry a;  // [rank, columns of W]  F32, F16 or BF16
  SafetensorsEntry b;  // [rows of W, rank]
  double scale = 1.0;

  int64_t rank() const { return a.shape[0]; }
};

class LoraAdapter {
 public:
  // Verifies that every tensor belongs to one of the seven projections of a layer of `base`, that
  // shapes and ranks are those of the base and of adapter_config.json, that pairs are whole, and
  // that none is missing which target_modules names. A config.json must have the base's shapes.
  static Result<std::unique_ptr<LoraAdapter>> open(const std::string& directory,
                                                   const ModelConfig& base);

  const std::string& directory() const { return directory_; }
  std::span<const LoraPair> pairs() const { return pairs_; }  // sorted by module; at least one
  const LoraPair* find(std::string_view module) const;        // null if there is none
  // The config.json beside it: its rope and its context are meant to replace the base's.
  const std::optional<ModelConfig>& config() const { return config_; }
  uint64_t file_bytes() const { return file_.file().size(); }

  // Raw bytes of a tensor of one of the pairs. REQUIRES: out.size() == tensor.bytes.
  Status read_tensor(const SafetensorsEntry& tensor, std::span<std::byte> out) const;
  // Fails if the file changed since open(). Call it when all tensors are read.
  Status verify_unchanged() const { return file_.file().verify_unchanged(); }

 private:
  LoraAdapter(std::string directory, Safetensors file)
      : directory_(std::move(directory)), file_(std::move(file)) {}

  std::string directory_;
  Safetensors file_;
  std::vector<LoraPair> pairs_;
  std::optional<ModelConfig> config_;
};

}  // namespace lserve
