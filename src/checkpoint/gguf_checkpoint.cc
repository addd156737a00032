// Joins the parts' tables of tensors to one, under Hugging Face names, and undoes the row order
// that converters give to Q and K of the architecture llama.
#include "checkpoint/gguf_checkpoint.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "base/strings.h"
#include "checkpoint/ggml_type.h"
#include "checkpoint/gguf.h"
#include "checkpoint/gguf_config.h"
#include "checkpoint/gguf_files.h"
#include "checkpoint/stored_tensor.h"

namespace lserve {

namespace {

constexpr const char* kFreqFactors = "rope_freqs.weight";

class GgufCheckpoint : public Checkpoint {
 public:
  GgufCheckpoint(ModelConfig config, std::vector<Gguf> files, std::vector<StoredTensor> stored)
      : config_(std::move(config)),
        files_(std::move(files)),
        stored_(std::move(stored)),
        infos_(tensor_infos(stored_)) {}

  const ModelConfig& config() const override { return config_; }
  std::string describe() const override {
    return cat("GGUF v", files_.front().version(),
               files_.size() == 1 ? "" : cat(", ", files_.size(), " files"));
  }
  uint64_t file_bytes() const override {
    uint64_t bytes = 0;
    for (const Gguf& file : files_) bytes += file.file().size();
    return bytes;
  }
  std::span<const TensorInfo> tensors() const override { return infos_; }

  Status read_tensor(const TensorInfo& tensor, std::span<std::byte> out) const override {
    const auto at = std::ranges::find(stored_, tensor.name, &StoredTensor::name);
    CHECK(at != stored_.end());
    CHECK_EQ(out.size(), at->bytes);
    const File& file = files_[static_cast<size_t>(at->file_idx)].file();
    if (!has_permuted_rows(config_, at->name)) return file.read_at(at->offset, out);
    return read_permuted(file, *at, out);
  }
  Status verify_unchanged() const override {
    for (const Gguf& file : files_) RETURN_IF_ERROR(file.file().verify_unchanged());
    return {};
  }
  Result<TokenizerData> read_tokenizer() const override {
    return read_tokenizer_gguf(files_.front(), config_.vocab_size);
  }

 private:
  // Converters interleave the two halves of each head, so that the partners of a rotation are
  // neighbours: stored row 2c + half of a head is row half * head_dim/2 + c here.
  Status read_permuted(const File& file, const StoredTensor& tensor,
                       std::span<std::byte> out) const {
    const auto head_dim = static_cast<size_t>(config_.head_dim);
    const size_t row_bytes = out.size() / static_cast<size_t>(tensor.shape[0]);
    const size_t head_bytes = head_dim * row_bytes;
    std::vector<std::byte> head(head_bytes);
    for (size_t start = 0; start < out.size(); start += head_bytes) {
      RETURN_IF_ERROR(file.read_at(tensor.offset + start, head));
      for (size_t stored_row = 0; stored_row < head_dim; ++stored_row) {
        const size_t row = (stored_row % 2) * (head_dim / 2) + stored_row / 2;
        std::memcpy(out.data() + start + row * row_bytes, head.data() + stored_row * row_bytes,
                    row_bytes);
      }
    }
    return {};
  }

  ModelConfig config_;
  std::vector<Gguf> files_;           // the first has the metadata
  std::vector<StoredTensor> stored_;  // the used ones, in the order of the files
  std::vector<TensorInfo> infos_;     // of the same, in the same order
};

// Extras that other engines would apply, so that ignoring them would change every answer.
Status check_ignorable(const ModelConfig& config, const std::string& where,
                       const GgufTensor& tensor) {
  const std::string name = hf_name_of(tensor.name).value_or(tensor.name);
  const bool is_qkv_bias = name.ends_with(".q_proj.bias") || name.ends_with(".k_proj.bias") ||
                           name.ends_with(".v_proj.bias");
  const bool is_bias = name.ends_with(".bias") && !(is_qkv_bias && config.qkv_bias);
  const bool is_scaling = name.starts_with("rope_factors_");
  if (!is_bias && !is_scaling) return {};
  return model_error(cat(where, ": tensor ", quoted(tensor.name), " is not supported with the ",
                         "architecture ", quoted(config.architecture)));
}

StoredTensor stored_tensor(const GgufTensor& tensor, int file_idx) {
  const GgmlType* type = find_ggml_type(tensor.type);
  CHECK(type != nullptr);  // Gguf::open knows all types of its tensors
  StoredTensor stored;
  stored.name = hf_name_of(tensor.name).value_or(tensor.name);
  stored.file_name = tensor.name;
  stored.type = type->name;
  stored.format = type->format;
  for (const uint64_t dim : tensor.dims) stored.shape.push_back(static_cast<int64_t>(dim));
  std::ranges::reverse(stored.shape);
  stored.bytes = tensor.bytes;
  stored.file_idx = file_idx;
  stored.offset = tensor.offset;
  return stored;
}

}  // namespace

Result<std::unique_ptr<Checkpoint>> open_gguf_checkpoint(const std::string& path) {
  ASSIGN_OR_RETURN(std::vector<Gguf> files, open_gguf_files(path));
  std::vector<GgufTensor> all_tensors;
  for (const Gguf& file : files) {
    all_tensors.insert(all_tensors.end(), file.tensors().begin(), file.tensors().end());
  }
  ASSIGN_OR_RETURN(ModelConfig config, parse_gguf_config(files.front(), all_tensors));

  std::vector<StoredTensor> stored;
  for (size_t i = 0; i < files.size(); ++i) {
    for (const GgufTensor& tensor : files[i].tensors()) {
      RETURN_IF_ERROR(check_ignorable(config, path, tensor));
      if (tensor.name == kFreqFactors) {
        ASSIGN_OR_RETURN(config.rope.freq_factors,
                         read_freq_factors(files[i].file(), tensor, config));
      } else {
        stored.push_back(stored_tensor(tensor, static_cast<int>(i)));
      }
    }
  }
  ASSIGN_OR_RETURN(
      stored, select_tensors(config, std::move(stored), {path, usable_ggml_types(), gguf_name_of}));
  return std::unique_ptr<Checkpoint>(
      std::make_unique<GgufCheckpoint>(std::move(config), std::move(files), std::move(stored)));
}

}  // namespace lserve
