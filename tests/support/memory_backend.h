// A backend that has memory and nothing else: for tests of bookkeeping, which must not compute.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace lserve::testing {

class MemoryBackend : public Backend {
 public:
  // The first `max_allocations` calls of allocate() succeed.
  explicit MemoryBackend(int64_t max_allocations = std::numeric_limits<int64_t>::max())
      : allocations_left_(max_allocations) {}

  std::string describe() const override { return "memory only"; }
  std::string arithmetic() const override { return "none"; }
  Result<Buffer> allocate(size_t bytes) override {
    if (allocations_left_-- <= 0) return memory_error("out of memory, on purpose");
    allocated_bytes.push_back(static_cast<int64_t>(bytes));
    return allocate_host(bytes);
  }
  void upload(void* to, const void* from, size_t bytes) override {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }
  void download(void* to, const void* from, size_t bytes) override {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }
  int64_t available_bytes() const override { return std::numeric_limits<int64_t>::max(); }
  Result<Weight> load_weight(const RawWeight&) override { return memory_error("no weights here"); }
  int64_t weight_bytes(WeightFormat, int64_t, int64_t) const override { return 0; }

  void embed(const EmbedParams&) override { refuse(); }
  void rms_norm(const RmsNormParams&) override { refuse(); }
  void linear(const LinearParams&) override { refuse(); }
  void silu_mul(const SiluMulParams&) override { refuse(); }
  void rope(const RopeParams&) override { refuse(); }
  void write_kv(const WriteKvParams&) override { refuse(); }
  void prefill_attention(const PrefillAttentionParams&) override { refuse(); }
  void page_scores(const PageScoreParams&) override { refuse(); }
  void select_pages(const SelectPagesParams&) override { refuse(); }
  void gather_spans(const GatherSpansParams&) override { refuse(); }
  void decode_attention(const DecodeAttentionParams&) override { refuse(); }
  void sample(const SampleParams&) override { refuse(); }
  void log_probs(const LogProbParams&) override { refuse(); }

  std::vector<int64_t> allocated_bytes;

 private:
  static void refuse() { CHECK(!"this backend only has memory"); }
  int64_t allocations_left_;
};

}  // namespace lserve::testing
