#include "kernels/cpu/cpu_backend.h"

#include <cstring>

#include "base/available_memory.h"
#include "base/checked_math.h"
#include "base/strings.h"
#include "kernels/cpu/ceilings.h"
#include "kernels/cpu/context.h"
#include "kernels/cpu/cpu_features.h"
#include "kernels/cpu/linear_pack.h"
#include "kernels/host/host_ops.h"

namespace lserve {

namespace cpu {

uint8_t* Scratch::bytes(int64_t count) {
  const auto needed = static_cast<size_t>(count);
  if (needed > buffer_.bytes()) {
    buffer_ = {};
    buffer_ = allocate_host(static_cast<size_t>(allocated_bytes(count)));
    CHECK(buffer_.data() != nullptr);
  }
  return buffer_.as<uint8_t>();
}

}  // namespace cpu

namespace {

class CpuBackend final : public Backend {
 public:
  CpuBackend(int num_threads, const cpu::CpuKernels& kernels)
      : pool_(num_threads), context_{kernels, pool_, {}, {}, {}} {}

  std::string describe() const override {
    const int threads = pool_.num_threads();
    return cat("cpu, ", threads, threads == 1 ? " thread, " : " threads, ", context_.kernels.name);
  }

  std::string arithmetic() const override { return cat("cpu ", context_.kernels.name); }

  Result<Buffer> allocate(size_t bytes) override {
    Buffer buffer = allocate_host(bytes);
    if (buffer.data() == nullptr) {
      return memory_error(cat("cannot allocate ", human_bytes(bytes), " of host memory"));
    }
    return buffer;
  }

  void upload(void* to, const void* from, size_t bytes) override {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }
  void download(void* to, const void* from, size_t bytes) override {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }
  int64_t available_bytes() const override { return available_memory(); }

  int64_t weight_bytes(WeightFormat format, int64_t rows, int64_t columns) const override {
    return cpu::packed_weight_bytes(format, rows, columns);
  }

  Result<Weight> load_weight(const RawWeight& raw) override {
    Weight weight{raw.format, raw.rows, raw.columns, {}};
    ASSIGN_OR_RETURN(
        weight.data,
        allocate(static_cast<size_t>(weight_bytes(raw.format, raw.rows, raw.columns))));
    cpu::pack_weight(raw, weight.data.as<uint8_t>(), &pool_);
    return weight;
  }

  Result<Ceilings> measure_ceilings(CeilingParts parts) override {
    return cpu::measure_ceilings(parts, &pool_);
  }

  int64_t scratch_bytes(const ScratchLimits& limits) const override {
    return cpu::decode_scratch_bytes(limits);
  }
  Status reserve(const ScratchLimits& limits) override {
    cpu::reserve_decode(limits, &context_);
    return {};
  }

  void embed(const EmbedParams& params) override { cpu::embed(params, &context_); }
  void linear(const LinearParams& params) override { cpu::linear(params, &context_); }

  void rms_norm(const RmsNormParams& params) override {
    const int64_t n = params.x.dim(1);
    CHECK(params.out.shape == params.x.shape);
    CHECK(params.weight.shape == Shape({n}));
    for_tokens(params.x.dim(0), [&](int64_t t) {
      context_.kernels.rms_norm(params.x.as<float>() + t * n, params.weight.as<float>(), n,
                                params.epsilon, params.out.as<float>() + t * n);
    });
  }

  void silu_mul(const SiluMulParams& params) override {
    const int64_t n = params.gate.dim(1);
    CHECK(params.up.shape == params.gate.shape);
    CHECK(params.out.shape == params.gate.shape);
    for_tokens(params.gate.dim(0), [&](int64_t t) {
      context_.kernels.silu_mul(params.gate.as<float>() + t * n, params.up.as<float>() + t * n, n,
                                params.out.as<float>() + t * n);
    });
  }

  void rope(const RopeParams& params) override {
    const int64_t head_dim = params.q.dim(2);
    CHECK_EQ(params.k.dim(2), head_dim);
    CHECK(params.cos_sin.shape == Shape({params.q.dim(0), 2, head_dim / 2}));
    for_tokens(params.q.dim(0), [&](int64_t t) {
      const float* cos_sin = params.cos_sin.as<float>() + t * head_dim;
      for (const TensorView* x : {&params.q, &params.k}) {
        float* heads = x->as<float>() + t * x->dim(1) * head_dim;
        for (int64_t h = 0; h < x->dim(1); ++h) {
          context_.kernels.rope(heads + h * head_dim, cos_sin, head_dim);
        }
      }
    });
  }

  void write_kv(const WriteKvParams& params) override { host::write_kv(params, &pool_); }
  void prefill_attention(const PrefillAttentionParams& params) override {
    cpu::prefill_attention(params, &context_);
  }
  void page_scores(const PageScoreParams& params) override { cpu::page_scores(params, &context_); }
  void select_pages(const SelectPagesParams& params) override {
    host::select_pages(params, &pool_);
  }
  void gather_spans(const GatherSpansParams& params) override {
    host::gather_spans(params, &pool_);
  }
  void decode_attention(const DecodeAttentionParams& params) override {
    cpu::decode_attention(params, &context_);
  }

  void sample(const SampleParams& params) override { host::sample(params, &pool_); }
  void log_probs(const LogProbParams& params) override { host::log_probs(params, &pool_); }

 private:
  // Calls body(t) for every token; on this thread alone where there are few.
  template <typename Body>
  void for_tokens(int64_t num_tokens, const Body& body) {
    pool_.parallel_for(num_tokens, 2 * cpu::kSerialTokens, [&](int64_t begin, int64_t end, int) {
      for (int64_t t = begin; t < end; ++t) body(t);
    });
  }

  ThreadPool pool_;
  cpu::Context context_;
};

}  // namespace

Result<std::unique_ptr<Backend>> make_cpu_backend(int num_threads, CpuIsa isa) {
  if (num_threads < 0) {
    return usage_error(cat("--threads ", num_threads, ": must be 0 (all) or more"));
  }
  ASSIGN_OR_RETURN(const cpu::CpuKernels* kernels, cpu::choose_kernels(isa));
  const int threads = num_threads > 0 ? num_threads : ThreadPool::available_threads();
  return std::unique_ptr<Backend>(std::make_unique<CpuBackend>(threads, *kernels));
}

}  // namespace lserve
