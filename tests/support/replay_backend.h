// A host backend with graphs, as a device has them: the operations of a graph are not run while it
// is recorded, but from the copies of their params that recording made, then and at every further
// call with its key. So a caller that keeps anything which varies outside the lists' memory gets
// stale results here as it does on a device, and tests see it without one.
#pragma once

#include <cstdint>
#include <memory>
#include <set>

#include "kernels/backend.h"

namespace lserve::testing {

struct ReplayLog {
  std::set<uint64_t> keys;  // of the graphs that were recorded
  std::set<int64_t> rows;   // that graphs embed
  int64_t runs = 0;         // of graphs
  int64_t allocations = 0;
};

// `log` outlives the backend.
std::unique_ptr<Backend> make_replay_backend(std::unique_ptr<Backend> inner, ReplayLog* log);

}  // namespace lserve::testing
