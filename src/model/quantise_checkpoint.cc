#include "model/quantise_checkpoint.h"

#include <algorithm>
#include <array>
#include <cctype>
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

std::vector<SafetensorsOutput::Entry> entries_of(const Checkpoint& checkpoint,
                                                 const WeightChoice& choice,
                                                 QuantisedFiles* result) {
  std::vector<SafetensorsOutput::Entry> entries;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
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

Status write_tensors(const Checkpoint& checkpoint, const WeightChoice& choice,
                     const LoadProgress& progress, uint64_t total, SafetensorsOutput* output) {
  const int available = ThreadPool::available_threads();
  ThreadPool pool(choice.num_threads > 0 ? choice.num_threads : available);
  std::vector<std::byte> stored;
  std::vector<std::byte> converted;
  uint64_t done = 0;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    stored.resize(tensor.bytes);
    RETURN_IF_ERROR(checkpoint.read_tensor(tensor, stored));
    const WeightFormat format = choice.of(tensor);
    if (format == tensor.format) {
      RETURN_IF_ERROR(output->write(stored));
    } else {
      const MatrixRows matrix{tensor.format, tensor.shape[0], tensor.shape[1]};
      converted.resize(matrix_bytes({format, matrix.rows, matrix.columns}));
      convert_rows(matrix, stored, format, converted, &pool);
      RETURN_IF_ERROR(output->write(converted));
    }
    done += tensor.bytes;
    if (progress) progress(done, total);
  }
  return checkpoint.verify_unchanged();
}

}  // namespace

Result<QuantisedFiles> quantise_checkpoint(const std::string& from, const WeightChoice& choice,
                                           const std::string& to, const LoadProgress& progress) {
  ASSIGN_OR_RETURN(const DeclaredFormats declared, declaration_of(choice));
  if (!directory_exists(from)) {
    return usage_error(cat(from,
                           ": is no Hugging Face directory; other models can be quantised "
                           "only while loading (--weights of run)"));
  }
  RETURN_IF_ERROR(check_nothing_there(to));
  ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::open(from));
  RETURN_IF_ERROR(check_weight_choice(*checkpoint, choice));
  ASSIGN_OR_RETURN(const Json config, declaring_config(from, declared));
  QuantisedFiles result;
  RETURN_IF_ERROR(make_directory(to));
  ASSIGN_OR_RETURN(SafetensorsOutput output,
                   SafetensorsOutput::create(to + "/model.safetensors",
                                             entries_of(*checkpoint, choice, &result)));
  RETURN_IF_ERROR(write_tensors(*checkpoint, choice, progress, result.bytes_before, &output));
  RETURN_IF_ERROR(output.commit());
  RETURN_IF_ERROR(copy_companions(from, to, &result.files));
  RETURN_IF_ERROR(write_file(to + "/config.json", config.dump(2) + "\n"));
  return result;
}

}  // namespace lserve
