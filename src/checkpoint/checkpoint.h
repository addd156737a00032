// A model on disk, whichever its form: a Hugging Face directory (safetensors, one file or sharded,
// and config.json) or one GGUF file. START HERE for floor 2: above it, nobody knows the forms
// apart.
//
// Tensors go by their Hugging Face names ("model.layers.0.self_attn.q_proj.weight") and are read as
// such: rows of a matrix are output channels, and GGUF's row permutation of llama-arch Q and K (for
// interleaved rope) is undone by read_tensor. Every file is untrusted (reliability: all sizes
// checked before anything is allocated); every error is ErrorKind::kModel and names file, field and
// remedy.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "checkpoint/model_config.h"
#include "checkpoint/tokenizer_data.h"
#include "quant/weight_format.h"

namespace lserve {

struct TensorInfo {
  std::string name;  // Hugging Face name
  WeightFormat format;
  std::vector<int64_t> shape;  // [rows, columns], or [n] for norms and biases
  uint64_t bytes = 0;          // in the file: row_bytes(format, columns) * rows
};

// A matrix that is not read but made: element i is random_value(seed, i, scale) in bf16
// (quant/random_values.h).
struct RandomTensor {
  uint64_t seed = 0;
  float scale = 1;
};

class Checkpoint {
 public:
  virtual ~Checkpoint() = default;

  // Reads headers only. Opens `path`: a directory with config.json, or a .gguf file, or
  // "random:SHAPE" (random_checkpoint.h); verifies that
  // the architecture is supported and that the set of tensors and their shapes are those of its
  // config: a missing or mis-shaped tensor is an error, known harmless extras are ignored, an
  // unknown extra is one warning. A Git-LFS pointer and a truncated file are named as such.
  static Result<std::unique_ptr<Checkpoint>> open(const std::string& path);

  virtual const ModelConfig& config() const = 0;
  // "safetensors, 2 files" / "GGUF v3": for people.
  virtual std::string describe() const = 0;
  virtual uint64_t file_bytes() const = 0;

  // The tensors the model uses, in the order of the files.
  virtual std::span<const TensorInfo> tensors() const = 0;
  // Raw bytes of the tensor, rows in Hugging Face order. REQUIRES: out.size() == tensor.bytes; the
  // tensor is one of tensors().
  virtual Status read_tensor(const TensorInfo& tensor, std::span<std::byte> out) const = 0;
  // How the tensor can be made where it is needed, instead of read; nothing for files.
  virtual std::optional<RandomTensor> random_tensor(const TensorInfo& /*tensor*/) const {
    return std::nullopt;
  }
  // Fails if any file changed since open(). Call it when all weights are read.
  virtual Status verify_unchanged() const = 0;

  // The tokenizer's tables and the chat template. Random weights have none.
  virtual bool has_tokenizer() const { return true; }
  virtual Result<TokenizerData> read_tokenizer() const = 0;

  const TensorInfo* find(std::string_view name) const;
};

}  // namespace lserve
