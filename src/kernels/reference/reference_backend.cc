#include "kernels/reference/reference_backend.h"

#include <cstring>

#include "base/available_memory.h"
#include "base/checked_math.h"
#include "base/strings.h"
#include "base/thread_pool.h"
#include "kernels/host/host_ops.h"
#include "kernels/reference/ops.h"

namespace lserve {

namespace {

class ReferenceBackend final : public Backend {
 public:
  explicit ReferenceBackend(int num_threads) : pool_(num_threads) {}

  std::string describe() const override {
    const int threads = pool_.num_threads();
    return cat("reference, ", threads, threads == 1 ? " thread" : " threads", ", float32");
  }

  std::string arithmetic() const override { return "reference"; }

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

  // Floats; row formats stay as they are.
  int64_t weight_bytes(WeightFormat format, int64_t rows, int64_t columns) const override {
    if (!is_row_quantised(format)) return rows * columns * int64_t{sizeof(float)};
    return rows * static_cast<int64_t>(*row_bytes(format, static_cast<uint64_t>(columns)));
  }

  Result<Weight> load_weight(const RawWeight& raw) override {
    const auto columns = static_cast<size_t>(raw.columns);
    const auto bytes_per_row = row_bytes(raw.format, columns);
    CHECK(bytes_per_row.has_value());
    CHECK_EQ(raw.data.size(), static_cast<size_t>(raw.rows) * *bytes_per_row);
    Weight weight{raw.format, raw.rows, raw.columns, {}};
    if (is_row_quantised(raw.format)) {
      ASSIGN_OR_RETURN(weight.data, allocate(raw.data.size()));
      upload(weight.data.data(), raw.data.data(), raw.data.size());
      return weight;
    }
    const auto elements = checked_mul(static_cast<uint64_t>(raw.rows), columns);
    const auto bytes = checked_mul(elements.value_or(UINT64_MAX), sizeof(float));
    ASSIGN_OR_RETURN(weight.data, allocate(bytes.value_or(UINT64_MAX)));
    pool_.parallel_for(raw.rows, 64, [&](int64_t begin, int64_t end, int) {
      for (auto row = static_cast<size_t>(begin); row < static_cast<size_t>(end); ++row) {
        dequantise_row(raw.format, raw.data.subspan(row * *bytes_per_row, *bytes_per_row),
                       {weight.data.as<float>() + row * columns, columns});
      }
    });
    return weight;
  }

  void embed(const EmbedParams& params) override { reference::embed(params); }
  void rms_norm(const RmsNormParams& params) override { reference::rms_norm(params); }
  void linear(const LinearParams& params) override { reference::linear(params, &pool_); }
  void silu_mul(const SiluMulParams& params) override { reference::silu_mul(params); }
  void rope(const RopeParams& params) override { reference::rope(params); }

  void write_kv(const WriteKvParams& params) override { host::write_kv(params, &pool_); }
  void prefill_attention(const PrefillAttentionParams& params) override {
    reference::prefill_attention(params, &pool_);
  }
  void page_scores(const PageScoreParams& params) override {
    reference::page_scores(params, &pool_);
  }
  void select_pages(const SelectPagesParams& params) override {
    host::select_pages(params, &pool_);
  }
  void gather_spans(const GatherSpansParams& params) override {
    host::gather_spans(params, &pool_);
  }
  void decode_attention(const DecodeAttentionParams& params) override {
    reference::decode_attention(params, &pool_);
  }

  void sample(const SampleParams& params) override { host::sample(params, &pool_); }
  void log_probs(const LogProbParams& params) override { host::log_probs(params, &pool_); }

 private:
  ThreadPool pool_;
};

}  // namespace

std::unique_ptr<Backend> make_reference_backend(int num_threads) {
  return std::make_unique<ReferenceBackend>(num_threads > 0 ? num_threads
                                                            : ThreadPool::available_threads());
}

}  // namespace lserve
