#include "model/weights.h"

#include <atomic>
#include <cmath>

#include "base/hash.h"
#include "base/strings.h"
#include "base/thread_pool.h"
#include "quant/convert_rows.h"
#include "quant/w4a8.h"

namespace lserve {

namespace {

// Reads tensors by name, one after the other, through reused host buffers.
class Loader {
 public:
  Loader(const Checkpoint& checkpoint, const WeightChoice& choice, Backend& backend,
         const LoadProgress& progress)
      : checkpoint_(checkpoint),
        choice_(choice),
        backend_(backend),
        progress_(progress),
        pool_(choice.num_threads > 0 ? choice.num_threads : ThreadPool::available_threads()) {
    for (const TensorInfo& tensor : checkpoint.tensors()) total_ += tensor.bytes;
  }

  Status matrix(const std::string& name, Weight* out) {
    if (const TensorInfo* tensor = checkpoint_.find(name)) {
      if (const auto random = checkpoint_.random_tensor(*tensor)) {
        return random_matrix(*tensor, *random, out);
      }
    }
    ASSIGN_OR_RETURN(const TensorInfo* tensor, read(name));
    if (tensor->shape.size() != 2) return model_error(cat(name, ": not a matrix"));
    const MatrixRows stored{tensor->format, tensor->shape[0], tensor->shape[1]};
    RETURN_IF_ERROR(check_rows(name, stored, bytes(*tensor)));
    const WeightFormat format = choice_.of(*tensor);
    if (format == stored.format) return load(stored, bytes(*tensor), out);
    const MatrixRows chosen{format, stored.rows, stored.columns};
    const std::span<std::byte> converted = converted_rows(chosen);
    convert_rows(stored, bytes(*tensor), format, converted, &pool_);
    return load(chosen, converted, out);
  }

  Status vector(const std::string& name, VectorWeight* out) {
    ASSIGN_OR_RETURN(const TensorInfo* tensor, read(name));
    std::vector<float> values(static_cast<size_t>(tensor->shape[0]));
    dequantise_row(tensor->format, bytes(*tensor), values);
    for (const float value : values) {
      if (!std::isfinite(value))
        return model_error(cat(name, ": holds a value that is not finite"));
    }
    out->size = tensor->shape[0];
    const std::span<const std::byte> contents = std::as_bytes(std::span(values));
    ASSIGN_OR_RETURN(out->buffer, backend_.allocate(contents.size()));
    backend_.upload(out->buffer.data(), contents.data(), contents.size());
    return {};
  }

  Status optional_vector(const std::string& name, VectorWeight* out) {
    return checkpoint_.find(name) == nullptr ? Status() : vector(name, out);
  }

  // Of the tensors read so far, in their order.
  uint64_t content_hash() const { return content_hash_; }

 private:
  // That the integers of w4a8 are in their ranges, which kernels rely on.
  Status check_rows(const std::string& name, const MatrixRows& matrix,
                    std::span<const std::byte> data) {
    if (matrix.format != WeightFormat::kW4A8) return {};
    const uint64_t row_size = matrix_bytes(matrix) / static_cast<uint64_t>(matrix.rows);
    std::atomic<int64_t> bad = -1;
    pool_.parallel_for(matrix.rows, 64, [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row) {
        const std::byte* at = data.data() + static_cast<uint64_t>(row) * row_size;
        if (!is_valid_w4a8(at, matrix.columns)) bad = row;
      }
    });
    if (bad < 0) return {};
    return model_error(cat(name, ": row ", bad.load(), " holds a group scale out of 1..",
                           kLargestGroupScale,
                           " or a weight that is no int8: the file is damaged"));
  }

  Status random_matrix(const TensorInfo& tensor, const RandomTensor& random, Weight* out) {
    const MatrixRows chosen{choice_.of(tensor), tensor.shape[0], tensor.shape[1]};
    content_hash_ = hash64(std::as_bytes(std::span(&random.seed, 1)), content_hash_);
    advance(tensor);
    if (chosen.format == tensor.format) {
      ASSIGN_OR_RETURN(*out, backend_.make_random_weight(chosen.rows, chosen.columns, random.seed,
                                                         random.scale));
      return {};
    }
    const std::span<std::byte> rows = converted_rows(chosen);
    random_rows(chosen, random.seed, random.scale, rows, &pool_);
    return load(chosen, rows, out);
  }

  Status load(const MatrixRows& matrix, std::span<const std::byte> data, Weight* out) {
    ASSIGN_OR_RETURN(*out,
                     backend_.load_weight({matrix.format, matrix.rows, matrix.columns, data}));
    return {};
  }

  // Room for a matrix in another format than the file's, which makes other contents.
  std::span<std::byte> converted_rows(const MatrixRows& matrix) {
    hash_format(matrix.format);
    const auto size = static_cast<size_t>(matrix_bytes(matrix));
    if (converted_.size() < size) converted_.resize(size);
    return std::span(converted_).first(size);
  }

  void hash_format(WeightFormat format) {
    const std::string_view name = weight_format_name(format);
    content_hash_ = hash64(std::as_bytes(std::span(name)), content_hash_);
  }

  Result<const TensorInfo*> read(const std::string& name) {
    const TensorInfo* tensor = checkpoint_.find(name);
    if (tensor == nullptr) return model_error(cat("the checkpoint has no tensor ", name));
    if (buffer_.size() < tensor->bytes) buffer_.resize(tensor->bytes);
    RETURN_IF_ERROR(checkpoint_.read_tensor(*tensor, {buffer_.data(), tensor->bytes}));
    hash_format(tensor->format);  // w8a8 and fp8 may have the same bytes
    content_hash_ = hash64(bytes(*tensor), content_hash_);
    advance(*tensor);
    return tensor;
  }
  void advance(const TensorInfo& tensor) {
    done_ += tensor.bytes;
    if (progress_) progress_(done_, total_);
  }
  std::span<const std::byte> bytes(const TensorInfo& tensor) const {
    return {buffer_.data(), tensor.bytes};
  }

  const Checkpoint& checkpoint_;
  const WeightChoice& choice_;
  Backend& backend_;
  const LoadProgress& progress_;
  ThreadPool pool_;
  std::vector<std::byte> buffer_;
  std::vector<std::byte> converted_;
  uint64_t content_hash_ = 0;
  uint64_t done_ = 0;
  uint64_t total_ = 0;
};

Status load_layer(Loader& loader, int64_t layer, LayerWeights* out) {
  const std::string prefix = cat("model.layers.", layer, ".");
  const auto name = [&](const char* tensor) { return prefix + tensor; };
  RETURN_IF_ERROR(loader.vector(name("input_layernorm.weight"), &out->attention_norm));
  RETURN_IF_ERROR(loader.matrix(name("self_attn.q_proj.weight"), &out->q.weight));
  RETURN_IF_ERROR(loader.matrix(name("self_attn.k_proj.weight"), &out->k.weight));
  RETURN_IF_ERROR(loader.matrix(name("self_attn.v_proj.weight"), &out->v.weight));
  RETURN_IF_ERROR(loader.optional_vector(name("self_attn.q_proj.bias"), &out->q.bias));
  RETURN_IF_ERROR(loader.optional_vector(name("self_attn.k_proj.bias"), &out->k.bias));
  RETURN_IF_ERROR(loader.optional_vector(name("self_attn.v_proj.bias"), &out->v.bias));
  RETURN_IF_ERROR(loader.matrix(name("self_attn.o_proj.weight"), &out->o.weight));
  RETURN_IF_ERROR(loader.vector(name("post_attention_layernorm.weight"), &out->mlp_norm));
  RETURN_IF_ERROR(loader.matrix(name("mlp.gate_proj.weight"), &out->gate.weight));
  RETURN_IF_ERROR(loader.matrix(name("mlp.up_proj.weight"), &out->up.weight));
  return loader.matrix(name("mlp.down_proj.weight"), &out->down.weight);
}

}  // namespace

LinearOutput Projection::output(const TensorView& out, bool accumulate) const {
  LinearOutput output{.weight = &weight, .bias = bias.view(), .out = out, .accumulate = accumulate};
  if (a.rows > 0) output.low_rank = {&a, &b, scale};
  return output;
}

Result<ModelWeights> load_weights(const Checkpoint& checkpoint, const WeightChoice& choice,
                                  Backend& backend, const LoadProgress& progress) {
  Loader loader(checkpoint, choice, backend, progress);
  ModelWeights weights;
  RETURN_IF_ERROR(loader.matrix("model.embed_tokens.weight", &weights.embedding));
  if (!checkpoint.config().tied_embeddings) {
    RETURN_IF_ERROR(loader.matrix("lm_head.weight", &weights.lm_head));
  }
  RETURN_IF_ERROR(loader.vector("model.norm.weight", &weights.final_norm));
  weights.layers.resize(static_cast<size_t>(checkpoint.config().num_layers));
  for (size_t layer = 0; layer < weights.layers.size(); ++layer) {
    RETURN_IF_ERROR(load_layer(loader, static_cast<int64_t>(layer), &weights.layers[layer]));
  }
  RETURN_IF_ERROR(checkpoint.verify_unchanged());
  weights.content_hash = loader.content_hash();
  return weights;
}

int64_t planned_weight_bytes(const Checkpoint& checkpoint, const WeightChoice& choice,
                             const Backend& backend) {
  int64_t total = 0;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    total += tensor.shape.size() == 2
                 ? backend.weight_bytes(choice.of(tensor), tensor.shape[0], tensor.shape[1])
                 : backend.allocation_bytes(tensor.shape[0] * int64_t{sizeof(float)});
  }
  return total;
}

}  // namespace lserve
