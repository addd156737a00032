// Tells compute-sanitizer which parts of an allocation are in use: it then reports accesses to the
// rest of it, which it otherwise takes for good. Without a tool attached this does nothing.
// (NVTX memory extension; compute-sanitizer --nvtx yes)
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace lserve::cuda {

class MemoryRegions {
 public:
  MemoryRegions() = default;
  ~MemoryRegions();
  MemoryRegions(const MemoryRegions&) = delete;
  MemoryRegions& operator=(const MemoryRegions&) = delete;

  // An allocation that parts are handed out of. All of it counts as in use.
  void add_heap(std::span<std::byte> memory);
  // Of all heaps only these parts, disjoint, are in use. The device must have finished what it did.
  void use(std::span<const std::span<std::byte>> parts);
  // All of all heaps again.
  void use_all();

 private:
  struct Heap {
    std::span<std::byte> memory;
    void* handle;  // nvtxMemHeapHandle_t
  };
  void register_parts(std::span<const std::span<std::byte>> parts);
  void unregister_parts();

  std::vector<Heap> heaps_;
  std::vector<const void*> registered_;
};

}  // namespace lserve::cuda
