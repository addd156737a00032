// The safetensors header. What is accepted must fill the file exactly.
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "checkpoint/safetensors.h"
#include "support/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lserve;
  static MemoryFile file;
  const auto opened = Safetensors::open(file.write(data, size));
  if (!opened.ok()) {
    CHECK(opened.status().kind() == ErrorKind::kModel);
    return 0;
  }
  uint64_t total = 0;
  for (const SafetensorsEntry& entry : opened->entries()) {
    CHECK(entry.offset <= size && entry.bytes <= size - entry.offset);
    total += entry.bytes;
  }
  uint64_t header = 0;
  for (int i = 7; i >= 0; --i) header = header << 8 | data[i];
  CHECK(8 + header + total == size);
  return 0;
}
