#include "kernels/cuda/cuda_backend.h"

#include <algorithm>

#include "base/strings.h"
#include "kernels/cuda/ceilings/ceilings.h"
#include "kernels/cuda/common/context.h"
#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/common/graphs.h"
#include "kernels/cuda/common/moments.h"
#include "kernels/cuda/common/row_weights.h"
#include "kernels/cuda/common/staging.h"
#include "kernels/cuda/common/weight_loader.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/linear/linear_kernels.h"
#include "kernels/cuda/linear/many_rows.h"
#include "kernels/cuda/random_weight/random_weight.h"
#include "tensor/cuda/device_info.h"
#include "tensor/cuda/device_memory.h"

namespace lserve {

namespace {

cuda::ScratchSizes scratch_sizes(const ScratchLimits& limits) {
  cuda::ScratchSizes sizes;
  cuda::size_linear(limits, &sizes);
  cuda::size_prefill_attention(limits, &sizes);
  cuda::size_decode_attention(limits, &sizes);
  cuda::size_sampling(limits, &sizes);
  return sizes;
}

class CudaBackend final : public Backend {
 public:
  CudaBackend(cuda::DeviceInfo device, int num_threads, bool use_graphs, double utilization)
      : device_(std::move(device)),
        use_graphs_(use_graphs),
        utilization_(utilization),
        context_(device_.num_sms, num_threads),
        loader_(context_.stream, &context_.threads),
        graphs_(&context_) {}
  ~CudaBackend() override { static_cast<void>(cudaStreamSynchronize(context_.stream)); }

  Status open() {
    CHECK(utilization_ > 0 && utilization_ <= 1);
    return staging_.open(context_.stream);
  }

  std::string describe() const override {
    return cat("cuda, ", device_.name, ", ", device_.architecture(), ", ", device_.num_sms, " SMs");
  }
  std::string arithmetic() const override { return cat("cuda ", device_.architecture()); }

  Result<Buffer> allocate(size_t bytes) override {
    CHECK(!context_.recording);
    return cuda::allocate_device(bytes, context_.stream);
  }
  void upload(void* to, const void* from, size_t bytes) override {
    CHECK(!context_.recording && "a graph would repeat the copy, not the host's values");
    staging_.upload(to, from, bytes);
  }
  void download(void* to, const void* from, size_t bytes) override {
    CHECK(!context_.recording);
    CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, context_.stream));
    synchronize();
  }
  bool is_host_memory() const override { return false; }
  int64_t available_bytes() const override {
    return cuda::usable_bytes({.total = device_.total_bytes,
                               .free = cuda::free_device_bytes(),
                               .own = device_.own_bytes + cuda::live_device_bytes(),
                               .utilization = utilization_,
                               .reserve = cuda::kCudaReserveBytes});
  }
  int64_t allocation_bytes(int64_t bytes) const override { return cuda::allocated_bytes(bytes); }

  int64_t weight_bytes(WeightFormat format, int64_t rows, int64_t columns) const override {
    return cuda::allocated_bytes(stored_bytes(format, rows, columns));
  }
  Result<Weight> load_weight(const RawWeight& raw) override {
    if (is_row_quantised(raw.format)) {
      ASSIGN_OR_RETURN(Weight weight, new_weight(raw.format, raw.rows, raw.columns));
      RETURN_IF_ERROR(loader_.load_rows(raw, weight.data.as<std::byte>()));
      return weight;
    }
    ASSIGN_OR_RETURN(Weight weight, new_weight(WeightFormat::kBF16, raw.rows, raw.columns));
    RETURN_IF_ERROR(loader_.load(raw, weight.data.as<bf16>()));
    return weight;
  }
  Result<Weight> make_random_weight(int64_t rows, int64_t columns, uint64_t seed,
                                    float scale) override {
    ASSIGN_OR_RETURN(Weight weight, new_weight(WeightFormat::kBF16, rows, columns));
    cuda::fill_random(weight.data.as<bf16>(), rows * columns, seed, scale, context_.stream);
    return weight;
  }

  Result<Ceilings> measure_ceilings(CeilingParts parts) override {
    return cuda::measure_ceilings(parts, &context_);
  }

  int64_t scratch_bytes(const ScratchLimits& limits) const override {
    return cuda::Context::device_bytes(scratch_sizes(limits));
  }
  Status reserve(const ScratchLimits& limits) override {
    loader_.release();
    return context_.reserve(scratch_sizes(limits));
  }

  void embed(const EmbedParams& params) override { cuda::embed(params, &context_); }
  void rms_norm(const RmsNormParams& params) override { cuda::rms_norm(params, &context_); }
  void linear(const LinearParams& params) override { cuda::linear(params, &context_); }
  bool norm_linear(const NormLinearParams& params) override {
    if (!cuda::norm_linear(params, &context_)) return Backend::norm_linear(params);
    return cuda::writes_largest(params);
  }
  DType input_dtype(const Weight& weight, RowCount rows) const override {
    const bool rounds = rows == RowCount::kMany && cuda::takes_bf16(weight, context_);
    return rounds ? DType::kBF16 : DType::kF32;
  }
  void silu_mul(const SiluMulParams& params) override { cuda::silu_mul(params, &context_); }
  void rope(const RopeParams& params) override { cuda::rope(params, &context_); }

  void write_kv(const WriteKvParams& params) override { cuda::write_kv(params, &context_); }
  void rope_write_kv(const RopeWriteKvParams& params) override {
    cuda::rope_write_kv(params, &context_);
  }
  void prefill_attention(const PrefillAttentionParams& params) override {
    cuda::prefill_attention(params, &context_);
  }
  void page_scores(const PageScoreParams& params) override { cuda::page_scores(params, &context_); }
  void select_pages(const SelectPagesParams& params) override {
    cuda::select_pages(params, &context_);
  }
  void gather_spans(const GatherSpansParams& params) override {
    cuda::gather_spans(params, &context_);
  }
  void select_spans(const SelectSpansParams& params) override {
    cuda::select_spans(params, &context_);
  }
  void decode_attention(const DecodeAttentionParams& params) override {
    cuda::decode_attention(params, &context_);
  }

  void sample(const SampleParams& params) override { cuda::sample(params, &context_); }
  void log_probs(const LogProbParams& params) override { cuda::log_probs(params, &context_); }

  bool has_graphs() const override { return use_graphs_; }
  void run_graph(uint64_t key, FunctionRef<void()> operations) override {
    if (!use_graphs_) return operations();
    graphs_.run(key, operations);
  }
  void note_moment(int64_t index) override { moments_.note(index, context_); }
  double seconds_between(int64_t from, int64_t to) override { return moments_.between(from, to); }
  void synchronize() override { CUDA_CHECK(cudaStreamSynchronize(context_.stream)); }

 private:
  // Row formats keep their codes, all others become bf16.
  static int64_t stored_bytes(WeightFormat format, int64_t rows, int64_t columns) {
    if (is_row_quantised(format)) return cuda::RowWeightLayout(format, rows, columns).bytes();
    return rows * columns * int64_t{sizeof(bf16)};
  }
  Result<Weight> new_weight(WeightFormat format, int64_t rows, int64_t columns) {
    Weight weight{format, rows, columns, {}};
    ASSIGN_OR_RETURN(weight.data,
                     allocate(static_cast<size_t>(stored_bytes(format, rows, columns))));
    cuda::prepare_linear(weight, &context_);
    return weight;
  }

  const cuda::DeviceInfo device_;
  const bool use_graphs_;
  const double utilization_;
  cuda::Context context_;
  cuda::StagingRing staging_;
  cuda::WeightLoader loader_;
  cuda::Graphs graphs_;
  cuda::Moments moments_;
};

}  // namespace

Result<std::unique_ptr<Backend>> make_cuda_backend(const BackendOptions& options) {
  if (options.num_threads < 0) {
    return usage_error(cat("--threads ", options.num_threads, ": must be 0 (all) or more"));
  }
  ASSIGN_OR_RETURN(cuda::DeviceInfo device, cuda::open_device());
  const int threads =
      options.num_threads > 0 ? options.num_threads : ThreadPool::available_threads();
  auto backend = std::make_unique<CudaBackend>(std::move(device), threads, options.graphs,
                                               options.gpu_memory_utilization);
  RETURN_IF_ERROR(backend->open());
  return std::unique_ptr<Backend>(std::move(backend));
}

}  // namespace lserve
