// A backend that passes everything on to another: what decorators begin with, and override.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "kernels/backend.h"

namespace lserve {

// But for graphs: a repeated one would leave out what a decorator does on the host.
class ForwardingBackend : public Backend {
 public:
  explicit ForwardingBackend(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}

  std::string describe() const override { return inner_->describe(); }
  std::string arithmetic() const override { return inner_->arithmetic(); }

  Result<Buffer> allocate(size_t bytes) override { return inner_->allocate(bytes); }
  void upload(void* to, const void* from, size_t bytes) override {
    inner_->upload(to, from, bytes);
  }
  void download(void* to, const void* from, size_t bytes) override {
    inner_->download(to, from, bytes);
  }
  int64_t available_bytes() const override { return inner_->available_bytes(); }
  Result<Weight> load_weight(const RawWeight& raw) override { return inner_->load_weight(raw); }
  Result<Weight> make_random_weight(int64_t rows, int64_t columns, uint64_t seed,
                                    float scale) override {
    return inner_->make_random_weight(rows, columns, seed, scale);
  }
  int64_t weight_bytes(WeightFormat format, int64_t rows, int64_t columns) const override {
    return inner_->weight_bytes(format, rows, columns);
  }
  Result<Ceilings> measure_ceilings(CeilingParts parts) override {
    return inner_->measure_ceilings(parts);
  }
  bool is_host_memory() const override { return inner_->is_host_memory(); }
  int64_t allocation_bytes(int64_t bytes) const override { return inner_->allocation_bytes(bytes); }
  int64_t scratch_bytes(const ScratchLimits& limits) const override {
    return inner_->scratch_bytes(limits);
  }
  Status reserve(const ScratchLimits& limits) override { return inner_->reserve(limits); }

  void embed(const EmbedParams& params) override { inner_->embed(params); }
  void rms_norm(const RmsNormParams& params) override { inner_->rms_norm(params); }
  void linear(const LinearParams& params) override { inner_->linear(params); }
  bool norm_linear(const NormLinearParams& params) override { return inner_->norm_linear(params); }
  DType input_dtype(const Weight& weight, RowCount rows) const override {
    return inner_->input_dtype(weight, rows);
  }
  void silu_mul(const SiluMulParams& params) override { inner_->silu_mul(params); }
  void rope(const RopeParams& params) override { inner_->rope(params); }

  void write_kv(const WriteKvParams& params) override { inner_->write_kv(params); }
  void rope_write_kv(const RopeWriteKvParams& params) override { inner_->rope_write_kv(params); }
  void prefill_attention(const PrefillAttentionParams& params) override {
    inner_->prefill_attention(params);
  }
  void page_scores(const PageScoreParams& params) override { inner_->page_scores(params); }
  void select_pages(const SelectPagesParams& params) override { inner_->select_pages(params); }
  void gather_spans(const GatherSpansParams& params) override { inner_->gather_spans(params); }
  void select_spans(const SelectSpansParams& params) override { inner_->select_spans(params); }
  void decode_attention(const DecodeAttentionParams& params) override {
    inner_->decode_attention(params);
  }

  void sample(const SampleParams& params) override { inner_->sample(params); }
  void log_probs(const LogProbParams& params) override { inner_->log_probs(params); }

  void note_moment(int64_t index) override { inner_->note_moment(index); }
  double seconds_between(int64_t from, int64_t to) override {
    return inner_->seconds_between(from, to);
  }
  void synchronize() override { inner_->synchronize(); }

 protected:
  Backend& inner() { return *inner_; }
  const Backend& inner() const { return *inner_; }

 private:
  std::unique_ptr<Backend> inner_;
};

}  // namespace lserve
