#include "attention/block_list.h"

#include <algorithm>

#include "base/check.h"
#include "base/checked_math.h"

namespace lserve {

int32_t append_key_blocks(int64_t first, int64_t last, const TokenWindow& window,
                          std::vector<KeyBlockRange>* ranges) {
  CHECK_GE(first, 0);
  CHECK_LE(first, last);
  CHECK_GE(window.local_tokens, 1);
  constexpr int64_t kBlock = kPageSize;
  // The windows of consecutive positions overlap, so their union is one range of tokens.
  const int64_t window_begin = std::max<int64_t>(0, first + 1 - window.local_tokens);

  const auto end = static_cast<int32_t>(last / kBlock + 1);
  const auto window_block = static_cast<int32_t>(window_begin / kBlock);
  const auto sink_block_end = static_cast<int32_t>(ceil_div<int64_t>(window.sink_tokens, kBlock));
  // They touch; or the sink goes beyond the last position, which ends the range.
  if (sink_block_end >= window_block) {
    ranges->push_back({sink_block_end > 0 ? 0 : window_block, end});
    return 1;
  }
  if (sink_block_end > 0) ranges->push_back({0, sink_block_end});
  ranges->push_back({window_block, end});
  return sink_block_end > 0 ? 2 : 1;
}

}  // namespace lserve
