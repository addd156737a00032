#include "model/quantise_checkpoint.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <filesystem>
#include <system_error>
#include <vector>

#include "base/atomic_file.h"
#include "base/file.h"
#include "base/json.h"
#include "base/strings.h"
#include "base/thread_pool.h"
#include "checkpoint/declared_formats.h"
#include "checkpoint/file_checks.h"
#include "checkpoint/safetensors_output.h"
#include "quant/convert_rows.h"

namespace lserve {

namespace {

constexpr uint64_t kMaxConfigBytes = 1 << 20;
constexpr uint64_t kMaxCopiedBytes = 256 << 20;

// What a directory may hold beside weights and config.json.
constexpr std::array kCompanions = {"generation_config.json",
                                    "tokenizer.json",
                                    "tokenizer_config.json",
                                    "tokenizer.model",
                                    "vocab.json",
                                    "merges.txt",
                                    "added_tokens.json",
                                    "special_tokens_map.json",
                                    "chat_template.jinja",
                                    "additional_chat_templates/tool_use.jinja",
                                    "head_pattern/full_attention_heads.tsv",
                                    "head_pattern/config.json"};
constexpr std::string_view kDeclaration = "quantization_config";

Status make_directory(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (!error) return {};
  return runtime_error(cat(path, ": cannot make this directory: ", error.message()));
}

Status write_file(const std::string& path, std::string_view contents) {
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
  RETURN_IF_ERROR(file.write(std::as_bytes(std::span(contents))));
  return file.commit();
}

// Those that are there; *copied counts them.
Status copy_companions(const std::string& from, const std::string& to, int64_t* copied) {
  for (const char* name : kCompanions) {
    const std::string source = cat(from, "/", name);
    const std::string copy = cat(to, "/", name);
    if (!file_exists(source)) continue;
    ASSIGN_OR_RETURN(const std::string contents, read_file(source, kMaxCopiedBytes));
    RETURN_IF_ERROR(make_directory(std::filesystem::path(copy).parent_path().string()));
    RETURN_IF_ERROR(write_file(copy, contents));
    ++*copied;
  }
  return {};
}

Status check_nothing_there(const std::string& to) {
  if (file_exists(to + "/config.json")) {
    return usage_error(cat(to, ": a model is there already; name another directory"));
  }
  if (!file_exists(to + "/model.safetensors")) return {};
  return usage_error(cat(to,
                         ": holds model.safetensors without config.json, left by a run that was "
                         "cut off: remove it, or name another directory"));
}

// As the command line has it: bf16, where the name is BF16.
std::string small_letters(std::string name) {
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
  return name;
}

// config.json of the result. kUsage: it declares formats already.
Result<Json> declaring_config(const std::string& from, const DeclaredFormats& declared) {
  ASSIGN_OR_RETURN(const Json original, read_json_object(from + "/config.json", kMaxConfigBytes));
  Json config = Json::object();
  for (const auto& [key, value] : original.as_object()) {
    if (key != kDeclaration) {
      config.set(key, value);
    } else if (!value.is_null()) {
      return usage_error(cat(from, ": is quantised already; begin from the original model"));
    }
  }
  config.set(std::string(kDeclaration), declared.to_json());
  return config;
}

// The formats chosen, which are all row formats: `lserve quantize` has no other.
Result<DeclaredFormats> declaration_of(const WeightChoice& choice) {
  const DeclaredFormats declared{choice.layers, choice.head};
  if (!declared.any()) {
    return usage_error("nothing to quantise: choose a format with --weights or --head-weights");
  }
  for (const auto& format : {choice.layers, choice.head}) {
    if (format && !is_row_quantised(*format)) {
      return usage_error(cat(small_letters(weight_format_name(*format)),
                             " is no low-bit format; lserve quantize writes ", row_format_names()));
    }
  }
  return declared;
}

constexpr std::string_view kLayers = "model.layers.";

// The tensor's layer; -1 of those outside.
int64_t layer_of(const TensorInfo& tensor) {
  if (!tensor.name.starts_with(kLayers)) return -1;
  int64_t layer = 0;
  const char* end = tensor.name.data() + tensor.name.size();
  std::from_chars(tensor.name.data() + kLayers.size(), end, layer);
  return layer;
}

// Those outside the layers, and then layer after layer.
std::vector<TensorInfo> by_layers(const Checkpoint& checkpoint) {
  const auto tensors = checkpoint.tensors();
  std::vector<TensorInfo> sorted(tensors.begin(), tensors.end());
  std::ranges::stable_sort(sorted, {}, layer_of);
  return sorted;
}

std::vector<SafetensorsOutput::Entry> entries_of(std::span<const TensorInfo> tensors,
                                                 const WeightChoice& choice,
                                                 QuantisedFiles* result) {
  std::vector<SafetensorsOutput::Entry> entries;
  for (const TensorInfo& tensor : tensors) {
    SafetensorsOutput::Entry entry{tensor.name, weight_format_name(tensor.format), tensor.shape,
                                   tensor.bytes};
    const WeightFormat format = choice.of(tensor);
    if (format != tensor.format) {
      entry.name += format_suffix(format);
      entry.dtype = "U8";
      entry.bytes = matrix_bytes({format, tensor.shape[0], tensor.shape[1]});
      entry.shape[1] = static_cast<int64_t>(entry.bytes) / tensor.shape[0];
      ++result->matrices;
    }
    result->bytes_before += tensor.bytes;
    result->bytes += entry.bytes;
    entries.push_back(std::move(entry));
  }
  return entries;
}

// Writes tensor after tensor: rewritten, copied, or rounded plainly.
class TensorWriter {
 public:
  TensorWriter(const Checkpoint& checkpoint, const WeightChoice& choice, LayerRewriter* rewriter,
               SafetensorsOutput* output)
      : checkpoint_(checkpoint),
        choice_(choice),
        rewriter_(rewriter),
        output_(output),
        pool_(choice.num_threads > 0 ? choice.num_threads : ThreadPool::available_threads()) {}

  // REQUIRES: layers in ascending order.
  Status write(const TensorInfo& tensor) {
    const int64_t layer = layer_of(tensor);
    if (rewriter_ != nullptr && layer > layer_) {
      layer_ = layer;
      ASSIGN_OR_RETURN(rewritten_, rewriter_->rewrite(layer));
    }
    if (const auto found = rewritten_.find(tensor.name); found != rewritten_.end()) {
      return output_->write(found->second);
    }
    stored_.resize(tensor.bytes);
    RETURN_IF_ERROR(checkpoint_.read_tensor(tensor, stored_));
    const WeightFormat format = choice_.of(tensor);
    if (format == tensor.format) return output_->write(stored_);
    const MatrixRows matrix{tensor.format, tensor.shape[0], tensor.shape[1]};
    converted_.resize(matrix_bytes({format, matrix.rows, matrix.columns}));
    convert_rows(matrix, stored_, format, converted_, &pool_);
    return output_->write(converted_);
  }

 private:
  const Checkpoint& checkpoint_;
  const WeightChoice& choice_;
  LayerRewriter* rewriter_;
  SafetensorsOutput* output_;
  ThreadPool pool_;
  int64_t layer_ = -1;  // that rewritten_ is of
  LayerRewriter::Tensors rewritten_;
  std::vector<std::byte> stored_, converted_;
};

// What is checked before anything is written.
struct Source {
  std::unique_ptr<Checkpoint> checkpoint;
  Json config;  // of the result
};
Result<Source> open_source(const std::string& from, const WeightChoice& choice,
                           const std::string& to) {
  ASSIGN_OR_RETURN(const DeclaredFormats declared, declaration_of(choice));
  if (!directory_exists(from)) {
    return usage_error(cat(from,
                           ": is no Hugging Face directory; other models can be quantised "
                           "only while loading (--weights of run)"));
  }
  RETURN_IF_ERROR(check_nothing_there(to));
  Source source;
  ASSIGN_OR_RETURN(source.checkpoint, Checkpoint::open(from));
  RETURN_IF_ERROR(check_weight_choice(*source.checkpoint, choice));
  ASSIGN_OR_RETURN(source.config, declaring_config(from, declared));
  return source;
}

}  // namespace

Status check_quantisation(const std::string& from, const WeightChoice& choice,
                          const std::string& to) {
  return open_source(from, choice, to).status();
}

Result<QuantisedFiles> quantise_checkpoint(const std::string& from, const WeightChoice& choice,
                                           const std::string& to, const ConvertProgress& progress,
                                           LayerRewriter* rewriter) {
  ASSIGN_OR_RETURN(Source source, open_source(from, choice, to));
  const std::vector<TensorInfo> tensors = by_layers(*source.checkpoint);
  QuantisedFiles result;
  RETURN_IF_ERROR(make_directory(to));
  RETURN_IF_ERROR(copy_companions(from, to, &result.files));  // what fails at once, at once
  ASSIGN_OR_RETURN(
      SafetensorsOutput output,
      SafetensorsOutput::create(to + "/model.safetensors", entries_of(tensors, choice, &result)));
  TensorWriter writer(*source.checkpoint, choice, rewriter, &output);
  uint64_t done = 0;
  for (const TensorInfo& tensor : tensors) {
    RETURN_IF_ERROR(writer.write(tensor));
    done += tensor.bytes;
    if (progress) RETURN_IF_ERROR(progress(done, result.bytes_before));
  }
  RETURN_IF_ERROR(source.checkpoint->verify_unchanged());
  RETURN_IF_ERROR(output.commit());
  if (rewriter != nullptr) source.config.set("calibration", rewriter->describe());
  RETURN_IF_ERROR(write_file(to + "/config.json", source.config.dump(2) + "\n"));
  return result;
}

}  // namespace lserve
