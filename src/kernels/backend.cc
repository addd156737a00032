// The only file that names the private folders.
#include "kernels/backend.h"

#include <chrono>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#ifdef LSERVE_WITH_CUDA
#include "kernels/cuda/cuda_backend.h"
#endif
#include "kernels/reference/reference_backend.h"
#include "quant/random_values.h"

namespace lserve {

std::optional<CpuIsa> cpu_isa_by_name(std::string_view name) {
  if (name == "auto") return CpuIsa::kAuto;
  if (name == "generic") return CpuIsa::kGeneric;
  if (name == "avx2") return CpuIsa::kAvx2;
  if (name == "avx512") return CpuIsa::kAvx512;
  if (name == "avx512_bf16") return CpuIsa::kAvx512Bf16;
  return {};
}

Result<Weight> Backend::make_random_weight(int64_t rows, int64_t columns, uint64_t seed,
                                           float scale) {
  std::vector<bf16> values(static_cast<size_t>(rows * columns));
  for (size_t i = 0; i < values.size(); ++i) values[i] = to_bf16(random_value(seed, i, scale));
  return load_weight({WeightFormat::kBF16, rows, columns, std::as_bytes(std::span(values))});
}

bool Backend::norm_linear(const NormLinearParams& params) {
  check_norm_linear(params);
  rms_norm(params.norm);
  linear(params.linear);
  if (!params.gated) return false;
  const TensorView& gate = params.linear.outputs[0].out;
  silu_mul({gate, params.linear.outputs[1].out, gate});
  return false;
}

void Backend::rope_write_kv(const RopeWriteKvParams& params) {
  rope(params.rope);
  for (const WriteKvParams& pool : params.pools) write_kv(pool);
}

void Backend::select_spans(const SelectSpansParams& params) {
  select_pages(params.select);
  gather_spans({params.select.selected, params.page_ids, params.gather, params.spans});
}

void Backend::note_moment(int64_t index) {
  const auto i = static_cast<size_t>(index);
  if (moments_.size() <= i) moments_.resize(i + 1);
  const auto since_start = std::chrono::steady_clock::now().time_since_epoch();
  moments_[i] = std::chrono::duration<double>(since_start).count();
}
double Backend::seconds_between(int64_t from, int64_t to) {
  return moments_.at(static_cast<size_t>(to)) - moments_.at(static_cast<size_t>(from));
}

bool built_with_cuda() {
#ifdef LSERVE_WITH_CUDA
  return true;
#else
  return false;
#endif
}

Result<std::unique_ptr<Backend>> make_backend(const BackendOptions& options) {
  switch (options.kind) {
    case BackendKind::kReference:
      return make_reference_backend(options.num_threads);
    case BackendKind::kCpu:
      return make_cpu_backend(options.num_threads, options.isa);
    case BackendKind::kCuda:
#ifdef LSERVE_WITH_CUDA
      return make_cuda_backend(options);
#else
      return device_error(
          "cuda: this lserve was built without CUDA (scripts/build cuda); use --device cpu");
#endif
  }
  return device_error("no such backend");
}

}  // namespace lserve
