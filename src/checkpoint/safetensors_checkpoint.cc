// One file or several. A single model.safetensors comes first, as in the reference implementation,
// and otherwise the index names the shards.
#include "checkpoint/safetensors_checkpoint.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/strings.h"
#include "checkpoint/declared_formats.h"
#include "checkpoint/file_checks.h"
#include "checkpoint/hf_config.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/stored_tensor.h"

namespace lserve {

namespace {

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr uint64_t kMaxIndexBytes = 64 << 20;
constexpr uint64_t kMaxConfigBytes = 1 << 20;
constexpr JsonLimits kIndexLimits = {.max_depth = 8, .max_elements = 1'000'000};
constexpr size_t kMaxShards = 512;  // each keeps a file open

class SafetensorsCheckpoint : public Checkpoint {
 public:
  SafetensorsCheckpoint(std::string directory, ModelConfig config, DeclaredFormats declared,
                        std::vector<Safetensors> files, std::vector<StoredTensor> stored)
      : directory_(std::move(directory)),
        config_(std::move(config)),
        declared_(declared),
        files_(std::move(files)),
        stored_(std::move(stored)),
        infos_(tensor_infos(stored_)) {}

  const ModelConfig& config() const override { return config_; }
  std::string describe() const override {
    return cat("safetensors, ", files_.size(), files_.size() == 1 ? " file" : " files",
               declared_.any() ? ", " : "", declared_.describe());
  }
  uint64_t file_bytes() const override {
    uint64_t bytes = 0;
    for (const Safetensors& file : files_) bytes += file.file().size();
    return bytes;
  }
  std::span<const TensorInfo> tensors() const override { return infos_; }

  Status read_tensor(const TensorInfo& tensor, std::span<std::byte> out) const override {
    const auto at = std::ranges::find(stored_, tensor.name, &StoredTensor::name);
    CHECK(at != stored_.end());
    CHECK_EQ(out.size(), at->bytes);
    return files_[static_cast<size_t>(at->file_idx)].file().read_at(at->offset, out);
  }
  Status verify_unchanged() const override {
    for (const Safetensors& file : files_) RETURN_IF_ERROR(file.file().verify_unchanged());
    return {};
  }
  Result<TokenizerData> read_tokenizer() const override {
    return read_hf_tokenizer(directory_, config_.vocab_size);
  }

 private:
  std::string directory_;
  ModelConfig config_;
  DeclaredFormats declared_;
  std::vector<Safetensors> files_;
  std::vector<StoredTensor> stored_;  // the used ones, in the order of the files
  std::vector<TensorInfo> infos_;     // of the same, in the same order
};

// The file names of a sharded model, each with the tensors that the index says it holds.
using Shards = std::map<std::string, std::vector<std::string>>;

// A file of the directory itself: nothing that leads out of it.
bool is_plain_file_name(const std::string& name) {
  return name.ends_with(".safetensors") && name.front() != '.' &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
}

Result<Shards> read_index(const std::string& path) {
  ASSIGN_OR_RETURN(const Json index, read_json_object(path, kMaxIndexBytes, kIndexLimits));
  const Json* map = index.find("weight_map");
  if (map == nullptr || !map->is_object() || map->as_object().empty()) {
    return model_error(cat(path, ": weight_map: is missing or no object with tensors"));
  }
  Shards shards;
  for (const auto& [tensor, shard] : map->as_object()) {
    if (!shard.is_string() || !is_plain_file_name(shard.as_string())) {
      return model_error(cat(path, ": weight_map: ", quoted(tensor), " is in ",
                             quoted(shard.dump()), ", which is no plain .safetensors file name"));
    }
    shards[shard.as_string()].push_back(tensor);
  }
  if (shards.size() > kMaxShards) {
    return model_error(cat(path, ": weight_map: names ", shards.size(), " files, at most ",
                           kMaxShards, " are allowed"));
  }
  return shards;
}

// Opens what the index names, and checks that each shard holds the tensors it is said to hold.
Result<std::vector<Safetensors>> open_shards(const std::string& directory) {
  const std::string index_path = cat(directory, "/", kIndexFile);
  ASSIGN_OR_RETURN(Shards shards, read_index(index_path));
  std::vector<Safetensors> files;
  for (auto& [name, tensors] : shards) {
    const std::string path = cat(directory, "/", name);
    if (!file_exists(path)) {
      return model_error(cat(path, ": this shard is missing; ", kIndexFile, " expects ",
                             tensors.size(), " tensors in it"));
    }
    ASSIGN_OR_RETURN(Safetensors file, Safetensors::open(path));
    // The index and the shard must agree, or a tensor of an older download could be used.
    std::vector<std::string> held;
    for (const SafetensorsEntry& entry : file.entries()) held.push_back(entry.name);
    std::ranges::sort(held);
    std::ranges::sort(tensors);
    std::vector<std::string> lacking;
    std::ranges::set_difference(tensors, held, std::back_inserter(lacking));
    if (!lacking.empty()) {
      return model_error(cat(path, ": tensor ", quoted(lacking.front()), " is missing, though ",
                             kIndexFile, " says it is here"));
    }
    files.push_back(std::move(file));
  }
  return files;
}

Status no_weights(const std::string& directory) {
  std::string hint;
  if (file_exists(directory + "/adapter_model.safetensors")) {
    hint = "; it holds a LoRA adapter: name its base model, and add --lora with this directory";
  } else if (file_exists(directory + "/pytorch_model.bin") ||
             file_exists(directory + "/pytorch_model.bin.index.json")) {
    hint = "; it holds pickles (.bin), which are never read: convert them to safetensors first";
  }
  return model_error(
      cat(directory, ": neither ", kSingleFile, " nor ", kIndexFile, " is in it", hint));
}

Result<std::vector<Safetensors>> open_files(const std::string& directory) {
  const std::string single_path = cat(directory, "/", kSingleFile);
  if (file_exists(single_path)) {
    ASSIGN_OR_RETURN(Safetensors file, Safetensors::open(single_path));
    std::vector<Safetensors> files;
    files.push_back(std::move(file));
    return files;
  }
  if (file_exists(cat(directory, "/", kIndexFile))) return open_shards(directory);
  return no_weights(directory);
}

Result<DeclaredFormats> read_declared_formats(const std::string& directory) {
  const std::string path = directory + "/config.json";
  ASSIGN_OR_RETURN(const Json config, read_json_object(path, kMaxConfigBytes));
  return parse_declared_formats(JsonFields(config, path));
}

std::string same_name(const std::string& name) { return name; }

}  // namespace

Result<std::unique_ptr<Checkpoint>> open_safetensors_checkpoint(const std::string& directory) {
  ASSIGN_OR_RETURN(ModelConfig config, read_hf_config(directory));
  ASSIGN_OR_RETURN(const DeclaredFormats declared, read_declared_formats(directory));
  ASSIGN_OR_RETURN(std::vector<Safetensors> files, open_files(directory));
  std::vector<StoredTensor> stored;
  for (size_t i = 0; i < files.size(); ++i) {
    for (const SafetensorsEntry& entry : files[i].entries()) {
      stored.push_back({entry.name, entry.name, entry.dtype, entry.format, entry.shape, entry.bytes,
                        static_cast<int>(i), entry.offset});
    }
  }
  const std::string where = files.size() == 1 ? files.front().file().path() : directory;
  RETURN_IF_ERROR(apply_declared_formats(declared, config, where, &stored));
  ASSIGN_OR_RETURN(stored,
                   select_tensors(config, std::move(stored), {where, "F32, F16, BF16", same_name}));
  return std::unique_ptr<Checkpoint>(std::make_unique<SafetensorsCheckpoint>(
      directory, std::move(config), declared, std::move(files), std::move(stored)));
}

}  // namespace lserve
