// See replay_backend.h.
#include "support/replay_backend.h"

#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "kernels/forwarding_backend.h"

namespace lserve::testing {

namespace {

template <typename T>
std::vector<T> copy_of(std::span<const T> list) {
  return {list.begin(), list.end()};
}

class ReplayBackend final : public ForwardingBackend {
 public:
  ReplayBackend(std::unique_ptr<Backend> inner, ReplayLog* log)
      : ForwardingBackend(std::move(inner)), log_(*log) {}

  bool has_graphs() const override { return true; }
  void run_graph(uint64_t key, FunctionRef<void()> operations) override {
    if (log_.keys.insert(key).second) {
      recording_ = &graphs_[key];
      operations();
      recording_ = nullptr;
    }
    for (const auto& operation : graphs_.at(key)) operation();
    ++log_.runs;
  }

  Result<Buffer> allocate(size_t bytes) override {
    CHECK(recording_ == nullptr);
    ++log_.allocations;
    return ForwardingBackend::allocate(bytes);
  }
  void upload(void* to, const void* from, size_t bytes) override {
    CHECK(recording_ == nullptr && "a graph would repeat the copy, not the host's values");
    ForwardingBackend::upload(to, from, bytes);
  }
  void download(void* to, const void* from, size_t bytes) override {
    CHECK(recording_ == nullptr);
    ForwardingBackend::download(to, from, bytes);
  }

  void embed(const EmbedParams& params) override {
    if (recording_ != nullptr) log_.rows.insert(static_cast<int64_t>(params.token_ids.size()));
    run([this, params] { inner().embed(params); });
  }
  void rms_norm(const RmsNormParams& params) override {
    run([this, params] { inner().rms_norm(params); });
  }
  void linear(const LinearParams& params) override {
    run([this, params, outputs = copy_of(params.outputs)] {
      LinearParams p = params;
      p.outputs = outputs;
      inner().linear(p);
    });
  }
  bool norm_linear(const NormLinearParams& params) override {
    run([this, params, outputs = copy_of(params.linear.outputs)] {
      NormLinearParams p = params;
      p.linear.outputs = outputs;
      inner().norm_linear(p);
    });
    return false;  // not known while it records
  }
  void silu_mul(const SiluMulParams& params) override {
    run([this, params] { inner().silu_mul(params); });
  }
  void rope_write_kv(const RopeWriteKvParams& params) override {
    run([this, rope = params.rope, pools = copy_of(params.pools)] {
      inner().rope_write_kv({rope, pools});
    });
  }
  void page_scores(const PageScoreParams& params) override {
    run([this, params] { inner().page_scores(params); });
  }
  void gather_spans(const GatherSpansParams& params) override {
    run([this, params] { inner().gather_spans(params); });
  }
  void select_spans(const SelectSpansParams& params) override {
    run([this, params] { inner().select_spans(params); });
  }
  void decode_attention(const DecodeAttentionParams& params) override {
    run([this, params, pools = copy_of(params.pools)] {
      DecodeAttentionParams p = params;
      p.pools = pools;
      inner().decode_attention(p);
    });
  }

  // No part of a decode step.
  void rope(const RopeParams& params) override {
    CHECK(recording_ == nullptr);
    ForwardingBackend::rope(params);
  }
  void write_kv(const WriteKvParams& params) override {
    CHECK(recording_ == nullptr);
    ForwardingBackend::write_kv(params);
  }
  void prefill_attention(const PrefillAttentionParams& params) override {
    CHECK(recording_ == nullptr);
    ForwardingBackend::prefill_attention(params);
  }
  void select_pages(const SelectPagesParams& params) override {
    CHECK(recording_ == nullptr);
    ForwardingBackend::select_pages(params);
  }
  void sample(const SampleParams& params) override {
    CHECK(recording_ == nullptr);
    ForwardingBackend::sample(params);
  }
  void log_probs(const LogProbParams& params) override {
    CHECK(recording_ == nullptr);
    ForwardingBackend::log_probs(params);
  }

 private:
  using Graph = std::vector<std::function<void()>>;

  void run(std::function<void()> operation) {
    if (recording_ == nullptr) return operation();
    recording_->push_back(std::move(operation));
  }

  ReplayLog& log_;
  std::map<uint64_t, Graph> graphs_;
  Graph* recording_ = nullptr;
};

}  // namespace

std::unique_ptr<Backend> make_replay_backend(std::unique_ptr<Backend> inner, ReplayLog* log) {
  return std::make_unique<ReplayBackend>(std::move(inner), log);
}

}  // namespace lserve::testing
