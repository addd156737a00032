#include "tensor/buffer.h"

#include <sys/mman.h>

#include <cstdint>

namespace lserve {

namespace {

constexpr size_t kHugePage = size_t{2} << 20;

void* map(size_t bytes) {
  void* data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return data == MAP_FAILED ? nullptr : data;
}

// Maps more than asked for and gives the ends back, so that the memory starts at a huge page.
void* map_aligned(size_t bytes) {
  const size_t end = (bytes + 4095) / 4096 * 4096;
  auto* data = static_cast<char*>(map(end + kHugePage));
  if (data == nullptr) return nullptr;
  const size_t head = (kHugePage - reinterpret_cast<uintptr_t>(data) % kHugePage) % kHugePage;
  if (head > 0) ::munmap(data, head);
  ::munmap(data + head + end, kHugePage - head);
  return data + head;
}

}  // namespace

Buffer allocate_host(size_t bytes) {
  if (bytes == 0) bytes = 1;
  // Fewer TLB misses where the system grants huge pages; a refusal changes nothing.
  const bool huge = bytes >= kHugePage && bytes < SIZE_MAX - 2 * kHugePage;
  void* data = huge ? map_aligned(bytes) : map(bytes);
  if (data == nullptr) return {};
  if (huge) ::madvise(data, bytes, MADV_HUGEPAGE);
  return {data, bytes, [](void* p, size_t n) { ::munmap(p, n); }};
}

}  // namespace lserve
