#include "engine/memory_plan.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>

#include "attention/page_selection.h"
#include "base/checked_math.h"
#include "base/file.h"

namespace lserve {

namespace {

// Rows of logits computed at once: enough for a fast matrix product, small beside the weights.
constexpr int64_t kLogitRows = 64;

// Beside weights, cache and workspace: tokenizer tables, the kernels' scratch, page tables, and
// what the allocators round up.
constexpr int64_t kReserveBytes = int64_t{48} << 20;

// Streaming pages a sequence holds at most: the sink, and what is kept before a chunk with the
// chunk itself (one page more at either end, where they begin and end inside a page).
int64_t streaming_pages(const MemoryInputs& inputs, int64_t all_pages) {
  const int64_t tokens = inputs.kept_window() + inputs.chunk;
  return std::min(all_pages,
                  inputs.attention.num_sink_pages() + ceil_div<int64_t>(tokens, kPageSize) + 2);
}

KvCacheConfig plan_kv(const MemoryInputs& inputs, int64_t context) {
  KvCacheConfig kv;
  bool any_streaming = false;
  bool any_retrieval = false;
  for (int64_t layer = 0; layer < inputs.config.num_layers; ++layer) {
    const auto count = [&](HeadClass c) {
      return static_cast<int32_t>(inputs.pattern.heads(layer, c).size());
    };
    kv.num_heads.push_back({count(HeadClass::kRetrieval), count(HeadClass::kStreaming)});
    any_retrieval |= count(HeadClass::kRetrieval) > 0;
    any_streaming |= count(HeadClass::kStreaming) > 0;
  }
  kv.head_dim = static_cast<int32_t>(inputs.config.head_dim);
  kv.format = inputs.kv_format;
  kv.logical_page_size = inputs.attention.logical_page_size;
  kv.page_score = inputs.attention.page_score;
  kv.key_stats = has_page_selection(inputs.attention.mode);
  const int64_t pages = ceil_div<int64_t>(context, kPageSize);
  if (any_retrieval) kv.num_pages[index_of(HeadClass::kRetrieval)] = pages;
  if (any_streaming) {
    kv.num_pages[index_of(HeadClass::kStreaming)] = streaming_pages(inputs, pages);
  }
  return kv;
}

WorkspaceLimits plan_workspace(const MemoryInputs& inputs, int64_t context) {
  WorkspaceLimits limits;
  limits.max_tokens = std::max(inputs.chunk, kLogitRows);
  limits.max_logit_rows = kLogitRows;
  limits.low_rank_columns = inputs.low_rank_columns;
  if (!has_page_selection(inputs.attention.mode)) return limits;
  limits.max_pages = ceil_div<int64_t>(context, kPageSize);
  const int32_t lists =
      inputs.attention.lists_per_kv_head(static_cast<int32_t>(inputs.config.gqa_group_size()));
  limits.max_score_rows = inputs.config.num_kv_heads * lists;
  limits.num_selection_rows = PageSelection::num_rows(inputs.pattern, lists);
  limits.budget_pages = inputs.attention.budget_pages();
  return limits;
}

// The number at the start of a small system file, as its first word or after `key`.
std::optional<int64_t> number_in(const std::string& path, const std::string& key) {
  const Result<std::string> text = read_file(path, 1 << 20);
  if (!text.ok()) return std::nullopt;
  size_t at = key.empty() ? 0 : text->find(key);
  if (at == std::string::npos) return std::nullopt;
  at = text->find_first_not_of(" \t", at + key.size());
  if (at == std::string::npos) return std::nullopt;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text->data() + at, text->data() + text->size(), value);
  return error == std::errc() ? std::optional(value) : std::nullopt;
}

}  // namespace

int64_t MemoryInputs::kept_window() const {
  return std::max(attention.decode_window().local_tokens, attention.prefill_window().local_tokens) +
         resume_tokens;
}

MemoryPlan plan_memory(const MemoryInputs& inputs, int64_t context) {
  MemoryPlan plan;
  plan.context = context;
  plan.weight_bytes = inputs.weight_bytes;
  plan.kv = plan_kv(inputs, context);
  plan.workspace = plan_workspace(inputs, context);
  const auto pool_bytes = [&](HeadClass c) {
    return plan.kv.page_bytes(c) * plan.kv.num_pages[index_of(c)];
  };
  plan.retrieval_kv_bytes = pool_bytes(HeadClass::kRetrieval);
  plan.streaming_kv_bytes = pool_bytes(HeadClass::kStreaming);
  plan.workspace_bytes = Workspace::planned_bytes(inputs.config, plan.workspace);
  plan.other_bytes = kReserveBytes + inputs.largest_tensor_bytes;
  return plan;
}

int64_t largest_context(const MemoryInputs& inputs, int64_t limit, int64_t available_bytes) {
  int64_t fits = 0;
  int64_t too_large = limit + 1;
  while (too_large - fits > 1) {
    const int64_t middle = fits + (too_large - fits) / 2;
    (plan_memory(inputs, middle).total_bytes() <= available_bytes ? fits : too_large) = middle;
  }
  // A whole number of pages: what a message should suggest.
  return fits == limit ? fits : fits / kPageSize * kPageSize;
}

int64_t available_memory() {
  const int64_t page = ::sysconf(_SC_PAGESIZE);
  int64_t available = page * ::sysconf(_SC_PHYS_PAGES);
  if (const auto kib = number_in("/proc/meminfo", "MemAvailable:")) available = *kib * 1024;
  const std::string group = "/sys/fs/cgroup/memory.";
  const auto group_limit = number_in(group + "max", "");
  const auto group_used = number_in(group + "current", "");
  if (group_limit && group_used) {
    // Cached file pages count as used, but give way.
    const int64_t cached = number_in(group + "stat", "\nfile ").value_or(0);
    available = std::min(available, *group_limit - *group_used + cached);
  }
  const auto cut = [&](auto resource, const std::string& used_key) {
    struct rlimit limit {};
    if (::getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
    const int64_t used = 1024 * number_in("/proc/self/status", used_key).value_or(0);
    available = std::min(available, static_cast<int64_t>(limit.rlim_cur) - used);
  };
  cut(RLIMIT_AS, "VmSize:");
  cut(RLIMIT_DATA, "VmData:");
  return std::max<int64_t>(available, 0);
}

}  // namespace lserve
