// START HERE: everything that the engine asks of hardware, on one page.
//
// A backend owns memory and runs operations. Three implement it: reference/ (plain float loops: the
// oracle, and the best explanation), cpu/ (threads and SIMD), and cuda/ (built where nvcc is). Each
// operation has a header of its name with its parameters, formula, shapes and requirements.
//
// Operations run in call order; results may be read after synchronize(). None allocates device
// memory except allocate() and the two that make a weight; none fails for reasons of data: what
// users can cause is checked above. One thread at a time may call a backend.
//
// Whose memory: everything that params point to, tensors and lists alike, lies in the backend's
// memory (allocate(), upload()), which for a device is not the host's. Host memory, read before the
// call returns, are only: the params themselves, LinearParams::outputs, the arrays `pools` and
// `page_tables` (the tables in it are the backend's), and all lists of sample() and log_probs().
// Items of a work list that say they have nothing to do (no spans, no tokens) are skipped, so that
// a list may be longer than a step needs: a graph is recorded for the longest.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/function_ref.h"
#include "base/status.h"
#include "kernels/ceilings.h"
#include "kernels/decode_attention.h"
#include "kernels/embed.h"
#include "kernels/linear.h"
#include "kernels/page_scores.h"
#include "kernels/prefill_attention.h"
#include "kernels/rms_norm.h"
#include "kernels/rope.h"
#include "kernels/sample.h"
#include "kernels/scratch_limits.h"
#include "kernels/select_pages.h"
#include "kernels/silu_mul.h"
#include "kernels/weight.h"
#include "kernels/write_kv.h"

namespace lserve {

class Backend {
 public:
  virtual ~Backend() = default;

  // "cpu, 2 threads, avx512 (vnni, bf16)": for people.
  virtual std::string describe() const = 0;
  // "cpu avx512": backends of the same words give the same bits, however many threads they have.
  virtual std::string arithmetic() const = 0;

  // Memory.
  // Zeroed; committed on first touch where the system can. kMemory if there is none.
  virtual Result<Buffer> allocate(size_t bytes) = 0;
  // Copies between the host's memory and this backend's, in call order. The host's may be used
  // again when the call returns.
  virtual void upload(void* to, const void* from, size_t bytes) = 0;
  virtual void download(void* to, const void* from, size_t bytes) = 0;
  // What may still be allocated.
  virtual int64_t available_bytes() const = 0;
  // Whether that is memory of the host, so that what the host itself needs must fit in too.
  virtual bool is_host_memory() const { return true; }
  // What allocate(bytes) takes of it: devices have a granularity.
  virtual int64_t allocation_bytes(int64_t bytes) const { return bytes; }
  // Brings a matrix into this backend's layout. kMemory.
  virtual Result<Weight> load_weight(const RawWeight& raw) = 0;
  // A matrix of random_value(seed, i, scale) in bf16 (quant/random_values.h), row after row.
  // kMemory.
  virtual Result<Weight> make_random_weight(int64_t rows, int64_t columns, uint64_t seed,
                                            float scale);
  // Bytes that load_weight keeps for such a matrix: for the memory plan.
  virtual int64_t weight_bytes(WeightFormat format, int64_t rows, int64_t columns) const = 0;

  // What this device can do at most: speeds to hold an operation's against. Takes a second, and on
  // a device some memory, which it gives back. kMemory; all 0 from a backend that is not for speed.
  virtual Result<Ceilings> measure_ceilings(CeilingParts /*parts*/) { return Ceilings(); }

  // What operations need beside what their params point to, in steps up to these limits: for the
  // memory plan.
  virtual int64_t scratch_bytes(const ScratchLimits& /*limits*/) const { return 0; }
  // Allocates that, after the last weight. From then on a device allocates nothing, and an
  // operation beyond the limits ends the process. kMemory.
  virtual Status reserve(const ScratchLimits& /*limits*/) { return {}; }

  // Tokens in, hidden states, logits out.
  virtual void embed(const EmbedParams& params) = 0;
  virtual void rms_norm(const RmsNormParams& params) = 0;
  virtual void linear(const LinearParams& params) = 0;
  // Whether it wrote params.largest.
  virtual bool norm_linear(const NormLinearParams& params);
  // What x of linear() may be: bf16 if it is rounded to that anyway, so that who makes x may store
  // it so, and nothing changes.
  virtual DType input_dtype(const Weight& /*weight*/, RowCount /*rows*/) const {
    return DType::kF32;
  }
  virtual void silu_mul(const SiluMulParams& params) = 0;
  virtual void rope(const RopeParams& params) = 0;

  // The KV cache and attention over it.
  virtual void write_kv(const WriteKvParams& params) = 0;
  virtual void rope_write_kv(const RopeWriteKvParams& params);
  virtual void prefill_attention(const PrefillAttentionParams& params) = 0;
  virtual void page_scores(const PageScoreParams& params) = 0;
  virtual void select_pages(const SelectPagesParams& params) = 0;
  virtual void gather_spans(const GatherSpansParams& params) = 0;
  virtual void select_spans(const SelectSpansParams& params);
  virtual void decode_attention(const DecodeAttentionParams& params) = 0;

  // From logits to tokens.
  virtual void sample(const SampleParams& params) = 0;
  virtual void log_probs(const LogProbParams& params) = 0;

  // Runs `operations`, which calls operations of this backend. A backend with graphs records them
  // at the first call with `key`, and repeats what it recorded at each further one, without calling
  // them: they must then be the same with the same params, for all that changes lies in memory.
  virtual void run_graph(uint64_t /*key*/, FunctionRef<void()> operations) { operations(); }
  // Whether it does: callers then pad what they run, so that they need few graphs.
  virtual bool has_graphs() const { return false; }

  // For measurements: notes the moment at which all operations before it are done, under a small
  // number; in a graph, anew each time that it runs. The seconds between two notes are there after
  // synchronize().
  virtual void note_moment(int64_t index);
  virtual double seconds_between(int64_t from, int64_t to);

  virtual void synchronize() {}

 private:
  std::vector<double> moments_;  // of note_moment(), where operations run as they are called
};

enum class BackendKind { kReference, kCpu, kCuda };
enum class CpuIsa { kAuto, kGeneric, kAvx2, kAvx512, kAvx512Bf16 };

// "auto", "generic", "avx2", "avx512", "avx512_bf16"; empty for any other name.
std::optional<CpuIsa> cpu_isa_by_name(std::string_view name);

struct BackendOptions {
  BackendKind kind = BackendKind::kCpu;
  int num_threads = 0;         // 0: as many as the process may use
  CpuIsa isa = CpuIsa::kAuto;  // kCpu only; an instruction set the machine lacks is kDevice
  bool graphs = true;          // kCuda only
  // kCuda only: the share of the device's memory that this process may use, in (0, 1].
  double gpu_memory_utilization = 0.9;
};

// kDevice: this build or this machine does not have it.
Result<std::unique_ptr<Backend>> make_backend(const BackendOptions& options);
bool built_with_cuda();

}  // namespace lserve
