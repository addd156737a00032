#include "base/hash.h"

// Inlined into this file alone: the binary needs no library of that name.
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace lserve {

uint64_t hash64(std::span<const std::byte> bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

std::string hash_text(uint64_t hash) {
  std::string text;
  for (int shift = 60; shift >= 0; shift -= 4) text += "0123456789abcdef"[(hash >> shift) & 15];
  return text;
}

}  // namespace lserve
