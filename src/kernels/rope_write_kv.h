// rope, then write_kv of every pool that the model's layer has: what happens to q, k and v between
// their projections and attention. One operation, because a device does it in one pass over them.
//
// ENSURES: q and the pages hold what rope() and then write_kv() of each pool leave there, bit for
// bit. What k holds afterwards is not said: attention reads keys from the pages.
#pragma once

#include <span>

#include "kernels/rope.h"
#include "kernels/write_kv.h"

namespace lserve {

struct RopeWriteKvParams {
  RopeParams rope;
  std::span<const WriteKvParams> pools;  // their k is that of rope; one format, one v
};

}  // namespace lserve
