// XXH3 with 64 bits: finds damage in files and tells contents apart. No defence against forgery.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace lserve {

// A seed chains pieces: hash64(b, hash64(a)) depends on both and on where a ends.
uint64_t hash64(std::span<const std::byte> bytes, uint64_t seed = 0);

// 16 hexadecimal digits.
std::string hash_text(uint64_t hash);

}  // namespace lserve
