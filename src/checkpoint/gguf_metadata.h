// The key-value part of a GGUF header. Private to gguf.cc; rules: reliability.md 1.3.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "checkpoint/byte_cursor.h"
#include "checkpoint/gguf.h"

namespace lserve {

struct GgufMetadata {
  std::vector<std::pair<std::string, GgufValue>> entries;  // sorted by key, no key twice
  uint64_t alignment = 32;  // general.alignment: of tensor data, a power of two
};

// Reads `count` entries and leaves the cursor behind the last.
Result<GgufMetadata> read_gguf_metadata(ByteCursor& cursor, uint64_t count);

// Names of keys and tensors: not empty, valid UTF-8.
Status check_gguf_name(const ByteCursor& cursor, const std::string& name, std::string_view what);

}  // namespace lserve
