#include "tensor/buffer.h"

#include <sys/mman.h>

namespace lserve {

Buffer allocate_host(size_t bytes) {
  if (bytes == 0) bytes = 1;
  void* data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) return {};
  // Fewer TLB misses where the system grants huge pages; a refusal changes nothing.
  constexpr size_t kHugePage = size_t{2} << 20;
  if (bytes >= kHugePage) ::madvise(data, bytes, MADV_HUGEPAGE);
  return {data, bytes, [](void* p, size_t n) { ::munmap(p, n); }};
}

}  // namespace lserve
