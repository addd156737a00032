#include "model/step_lists.h"

#include <algorithm>

#include "base/checked_math.h"
#include "base/strings.h"
#include "kernels/paged_kv_view.h"

namespace lserve {

namespace {

constexpr int64_t kAlignment = 64;  // of a list in kLists; elements of other regions are packed

int64_t list_bytes(int64_t count, size_t element) {
  return round_up(count * static_cast<int64_t>(element), kAlignment);
}

// Prefill: query blocks end where pages end, so there are two more than pages of tokens.
int64_t prefill_bytes(const StepLimits& limits) {
  constexpr int64_t kRangesPerBlock = 2 + 3;  // dense: one, and one to spare; a window: sink, local
  const int64_t blocks = ceil_div<int64_t>(limits.max_tokens, kPageSize) + 2;
  return list_bytes(blocks * limits.num_kv_heads, sizeof(PrefillWork)) +
         list_bytes(blocks * kRangesPerBlock, sizeof(KeyBlockRange));
}

// Decode: at most one list a query head. Selections are gathered when they are new, and in one list
// of all layers when they are reused; lists of both may be padded to all of them.
int64_t decode_bytes(const StepLimits& limits) {
  const int64_t lists = limits.num_sequences * limits.num_q_heads;
  return list_bytes(lists, sizeof(DecodeWork)) + list_bytes(lists, sizeof(PageScoreWork)) +
         2 * list_bytes(lists, sizeof(int32_t)) + 2 * list_bytes(lists, sizeof(GatherSpansWork));
}

}  // namespace

std::array<StepLists::Extent, StepLists::kNumRegions> StepLists::extents(const StepLimits& limits) {
  const int64_t tokens = limits.max_tokens;
  const int64_t lists = list_bytes(tokens, sizeof(int32_t)) +
                        2 * list_bytes(tokens, sizeof(int64_t)) +
                        list_bytes(tokens * limits.head_dim, sizeof(float)) +
                        limits.num_layers * (prefill_bytes(limits) + decode_bytes(limits));
  const int64_t ids = list_bytes(2 * limits.num_sequences * limits.context_pages, sizeof(int32_t));
  // Two spans may lie in one page: the end of the sink and the begin of the window. A selection
  // that is being reused has one page more.
  const int64_t shared = 2 * (limits.context_pages + 1);
  const int64_t selected =
      limits.budget_pages > 0 ? limits.num_q_heads * (limits.budget_pages + 1) : 0;
  const int64_t spans =
      list_bytes(limits.num_layers * limits.num_sequences * (shared + selected), sizeof(PageSpan));
  std::array<Extent, kNumRegions> result;
  int64_t begin = 0;
  size_t region = 0;
  for (const int64_t bytes : {lists, ids, ids, spans}) {
    result[region++] = {begin, bytes};
    begin += bytes;
  }
  return result;
}

int64_t StepLists::planned_bytes(const StepLimits& limits) {
  const Extent last = extents(limits).back();
  return last.begin + last.bytes;
}

Result<StepLists> StepLists::create(const StepLimits& limits, Backend& backend) {
  StepLists lists;
  lists.limits_ = limits;
  lists.extents_ = extents(limits);
  const auto bytes = static_cast<size_t>(planned_bytes(limits));
  lists.host_ = allocate_host(bytes);
  if (lists.host_.data() == nullptr) {
    return memory_error(cat("cannot allocate ", human_bytes(bytes), " of host memory"));
  }
  ASSIGN_OR_RETURN(lists.device_, backend.allocate(bytes));
  return lists;
}

int64_t StepLists::take(Region region, int64_t bytes) {
  const Extent& extent = extents_[static_cast<size_t>(region)];
  int64_t& used = used_[static_cast<size_t>(region)];
  const int64_t at = used;
  used += region == Region::kLists ? round_up(bytes, kAlignment) : bytes;
  CHECK_LE(used, extent.bytes);
  return extent.begin + at;
}

void StepLists::upload(Backend& backend) const {
  for (size_t region = 0; region < kNumRegions; ++region) {
    if (used_[region] == 0) continue;
    const int64_t begin = extents_[region].begin;
    backend.upload(device_.as<std::byte>() + begin, host_.as<std::byte>() + begin,
                   static_cast<size_t>(used_[region]));
  }
}

}  // namespace lserve
