// KV file: the head as it is, and once more under a checksum that is right; then all that it names.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/hash.h"
#include "engine/kv_file.h"
#include "support/memory_file.h"

namespace {

using namespace lserve;

// Reads what the head names, as restore_kv does; every size is covered by the file's.
void read_all(const std::string& path, size_t size) {
  auto file = KvFileReader::open(path);
  if (!file.ok()) {
    CHECK(file.status().kind() == ErrorKind::kModel);
    return;
  }
  const KvFileHead& head = file->head();
  CHECK_LE(static_cast<uint64_t>(head.num_tokens()) * 4, uint64_t{size});
  (void)file->read_tokens();
  for (int64_t page_idx = 0; page_idx < head.num_pages; ++page_idx) {
    for (size_t which = 0; which < kNumKvRecords; ++which) {
      if (!head.has_record(which, page_idx)) continue;
      CHECK_LE(static_cast<uint64_t>(head.record_bytes[which]), uint64_t{size});
      std::vector<std::byte> record(static_cast<size_t>(head.record_bytes[which]));
      if (!file->read_record(record).ok()) return;
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static MemoryFile file;
  read_all(file.write(data, size), size);
  // Magic, version, length of the head, as docs/contracts/kv_file.md says.
  uint32_t head_bytes = 0;
  if (size < 24) return 0;
  std::memcpy(&head_bytes, data + 12, sizeof(head_bytes));
  if (head_bytes < 24 || head_bytes > size) return 0;
  std::string bytes(reinterpret_cast<const char*>(data), size);
  const size_t hashed = head_bytes - sizeof(uint64_t);
  const uint64_t checksum = hash64(std::as_bytes(std::span(bytes.data(), hashed)), ~uint64_t{0});
  std::memcpy(bytes.data() + hashed, &checksum, sizeof(checksum));
  read_all(file.write(bytes), size);
  return 0;
}
