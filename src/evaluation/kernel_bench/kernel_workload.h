// Operations of a Backend as workloads to be timed: what is called, on which data, and how many
// bytes and operations that is, counted. START HERE for kernel_bench/.
//
// A call's data are random, and there are as many copies of them (layers, for attention) as the
// caches of no device hold: call i works on copy i % copies, so that what is read comes from
// memory. Activations of single rows are the exception: as in a decode step they are few bytes that
// may stay in a cache.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/status.h"
#include "evaluation/kernel_bench/kernel_case.h"
#include "kernels/backend.h"

namespace lserve {

// What a vendor's kernel has to compute for the same result, in bf16; for programs that have such
// kernels to compare with. Attention is dense and causal: what a sparse case replaces.
struct ProductProblem {
  int64_t rows = 0;     // of the matrix
  int64_t columns = 0;  // of the matrix
  int64_t num_tokens = 0;
  bool operator==(const ProductProblem&) const = default;
};
struct AttentionProblem {
  int64_t batch = 1;
  int64_t q_len = 1;  // the last tokens of the kv_len
  int64_t kv_len = 1;
  int64_t num_q_heads = 1;
  int64_t num_kv_heads = 1;
  int64_t head_dim = 64;
  bool operator==(const AttentionProblem&) const = default;
};
using VendorProblem = std::variant<std::monostate, ProductProblem, AttentionProblem>;

// What else can be said of a call by counting: "blocks_read".
struct KernelCount {
  const char* name;
  double value;
};

// Ready to run on one backend.
struct PreparedKernel {
  // Of one call: what has to be read and written at least, each byte once, as it is stored; and
  // additions and multiplications (and the like), where each counts one.
  double bytes = 0;
  double operations = 0;
  std::vector<KernelCount> counts;
  int64_t copies = 1;
  bool in_graph = true;  // false: it hands results to the host, which a graph cannot
  ScratchLimits limits;  // which prepare() has reserved
  std::function<void(int64_t copy)> run;
  std::shared_ptr<void> memory;  // that run() works on
};

struct KernelWorkload {
  std::string op;
  std::string what;  // "qkv 6144 x 4096, 1 row": for people, and the name in records
  VendorProblem vendor;
  // kMemory: "does not fit: 12.00 GiB of 8.00 GiB". The backend must outlive what is prepared.
  std::function<Result<PreparedKernel>(Backend&)> prepare;
};

// One workload, or several where the op is called in several ways (linear: for each matrix of the
// shape, as the model calls it). Errors: kUsage (more tokens than the context, nothing to select),
// kModel (no such shape).
using KernelWorkloads = std::vector<KernelWorkload>;
Result<KernelWorkloads> kernel_workloads(const KernelCase& the_case);
// Those of all cases in order, each once: cases may have parts in common.
Result<KernelWorkloads> kernel_workloads(std::span<const KernelCase> cases);

}  // namespace lserve
