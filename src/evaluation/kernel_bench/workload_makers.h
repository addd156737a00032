// The makers behind kernel_workloads(), by kind of operation. Private to kernel_bench/.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/model_config.h"
#include "evaluation/kernel_bench/kernel_workload.h"

namespace lserve {

// A case with what its shape says.
struct ShapedCase {
  KernelCase settings;
  ModelConfig shape;
  int64_t tokens = 1;  // resolved

  int64_t q_width() const { return shape.num_q_heads * shape.head_dim; }
  int64_t kv_width() const { return shape.num_kv_heads * shape.head_dim; }
};

// What the selector's operations are measured in: lserve where heads stream, else pages.
constexpr AttentionMode selector_mode(AttentionMode mode) {
  return has_streaming_heads(mode) ? AttentionMode::kLServe : AttentionMode::kPages;
}

// "1 row", "8192 rows".
std::string rows_text(int64_t rows);

KernelWorkloads linear_workloads(const ShapedCase& c);
KernelWorkloads embed_workloads(const ShapedCase& c);
KernelWorkloads rms_norm_workloads(const ShapedCase& c);
KernelWorkloads silu_mul_workloads(const ShapedCase& c);
KernelWorkloads rope_workloads(const ShapedCase& c);
KernelWorkloads write_kv_workloads(const ShapedCase& c);
KernelWorkloads rope_write_kv_workloads(const ShapedCase& c);
KernelWorkloads prefill_attention_workloads(const ShapedCase& c);
KernelWorkloads decode_attention_workloads(const ShapedCase& c);
KernelWorkloads page_scores_workloads(const ShapedCase& c);
KernelWorkloads select_pages_workloads(const ShapedCase& c);
KernelWorkloads select_spans_workloads(const ShapedCase& c);
KernelWorkloads sample_workloads(const ShapedCase& c);

}  // namespace lserve
