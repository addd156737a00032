// DuoAttention's table of gates.
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "checkpoint/head_pattern_file.h"
#include "support/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lserve;
  static MemoryFile file;
  const auto pattern = read_head_pattern(file.write(data, size));
  if (!pattern.ok()) {
    CHECK(pattern.status().kind() == ErrorKind::kModel);
    return 0;
  }
  CHECK(pattern->num_layers >= 1 && pattern->num_kv_heads >= 1);
  CHECK(pattern->gates.size() ==
        static_cast<size_t>(pattern->num_layers) * static_cast<size_t>(pattern->num_kv_heads));
  for (const double gate : pattern->gates) CHECK(gate >= 0.0 && gate <= 1.0);
  return 0;
}
