#include "evaluation/kernel_bench/kernel_workload.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/strings.h"
#include "checkpoint/random_checkpoint.h"
#include "evaluation/kernel_bench/workload_makers.h"

namespace lserve {

namespace {

struct Maker {
  std::string_view op;
  KernelWorkloads (*make)(const ShapedCase&);
};
constexpr std::array kMakers = {
    Maker{"embed", embed_workloads},
    Maker{"rms_norm", rms_norm_workloads},
    Maker{"linear", linear_workloads},
    Maker{"silu_mul", silu_mul_workloads},
    Maker{"rope", rope_workloads},
    Maker{"write_kv", write_kv_workloads},
    Maker{"rope_write_kv", rope_write_kv_workloads},
    Maker{"prefill_attention", prefill_attention_workloads},
    Maker{"decode_attention", decode_attention_workloads},
    Maker{"page_scores", page_scores_workloads},
    Maker{"select_pages", select_pages_workloads},
    Maker{"select_spans", select_spans_workloads},
    Maker{"sample", sample_workloads},
};
static_assert(kMakers.size() == kKernelOps.size(), "every op that is offered has a maker");

Status check_case(const KernelCase& c, int64_t tokens) {
  const KernelOp& op = kernel_op(c.op);
  if (op.has(KernelDim::kTokens) && op.has(KernelDim::kContext) && tokens > c.context) {
    return usage_error(cat(c.op, ": --tokens ", with_separators(tokens),
                           " are more than the --context of ", with_separators(c.context)));
  }
  const bool selects = c.op == "select_pages" || c.op == "select_spans";
  AttentionConfig attention = c.attention;
  if (selects || c.op == "page_scores") attention.mode = selector_mode(c.attention.mode);
  if (op.has(KernelDim::kContext)) RETURN_IF_ERROR(validate(attention));
  if (selects && c.context <= c.attention.token_budget) {
    return usage_error(cat(c.op, ": a --context of ", with_separators(c.context),
                           " tokens is within the --token-budget of ",
                           with_separators(c.attention.token_budget), ": nothing is selected"));
  }
  return {};
}

}  // namespace

std::string rows_text(int64_t rows) { return cat(rows, rows == 1 ? " row" : " rows"); }

Result<KernelWorkloads> kernel_workloads(const KernelCase& the_case) {
  ASSIGN_OR_RETURN(const auto checkpoint,
                   open_random_checkpoint(cat(kRandomPrefix, the_case.shape)));
  ShapedCase shaped{the_case, checkpoint->config(), the_case.tokens};
  const KernelOp& op = kernel_op(the_case.op);
  if (shaped.tokens == 0) shaped.tokens = op.has(KernelDim::kContext) ? the_case.context : 1;
  RETURN_IF_ERROR(check_case(the_case, shaped.tokens));
  for (const Maker& maker : kMakers) {
    if (maker.op == the_case.op) return maker.make(shaped);
  }
  return usage_error(cat("no such operation: ", quoted(the_case.op)));
}

Result<KernelWorkloads> kernel_workloads(std::span<const KernelCase> cases) {
  KernelWorkloads all;
  for (const KernelCase& the_case : cases) {
    ASSIGN_OR_RETURN(KernelWorkloads of_case, kernel_workloads(the_case));
    for (KernelWorkload& workload : of_case) {
      const bool known = std::any_of(all.begin(), all.end(), [&](const KernelWorkload& other) {
        return other.op == workload.op && other.what == workload.what;
      });
      if (!known) all.push_back(std::move(workload));
    }
  }
  return all;
}

}  // namespace lserve
