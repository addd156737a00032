#include "tensor/cuda/memory_regions.h"

#include <nvtx3/nvToolsExtMem.h>

namespace lserve::cuda {

namespace {

nvtxDomainHandle_t domain() {
  static nvtxDomainHandle_t const handle = nvtxDomainCreateA("lserve");
  return handle;
}

bool inside(std::span<std::byte> part, std::span<std::byte> memory) {
  return memory.data() <= part.data() && part.data() < memory.data() + memory.size();
}

}  // namespace

MemoryRegions::~MemoryRegions() {
  unregister_parts();
  for (const Heap& heap : heaps_) {
    nvtxMemHeapUnregister(domain(), static_cast<nvtxMemHeapHandle_t>(heap.handle));
  }
}

void MemoryRegions::add_heap(std::span<std::byte> memory) {
  const nvtxMemVirtualRangeDesc_t range{memory.size(), memory.data()};
  nvtxMemHeapDesc_t desc{};
  desc.extCompatID = NVTX_EXT_COMPATID_MEM;
  desc.structSize = sizeof(desc);
  desc.usage = NVTX_MEM_HEAP_USAGE_TYPE_SUB_ALLOCATOR;
  desc.type = NVTX_MEM_TYPE_VIRTUAL_ADDRESS;
  desc.typeSpecificDescSize = sizeof(range);
  desc.typeSpecificDesc = &range;
  heaps_.push_back({memory, nvtxMemHeapRegister(domain(), &desc)});
  use_all();
}

void MemoryRegions::use(std::span<const std::span<std::byte>> parts) {
  unregister_parts();
  register_parts(parts);
}

void MemoryRegions::use_all() {
  std::vector<std::span<std::byte>> all;
  for (const Heap& heap : heaps_) all.push_back(heap.memory);
  use(all);
}

void MemoryRegions::register_parts(std::span<const std::span<std::byte>> parts) {
  for (const Heap& heap : heaps_) {
    std::vector<nvtxMemVirtualRangeDesc_t> ranges;
    for (const std::span<std::byte> part : parts) {
      if (inside(part, heap.memory)) ranges.push_back({part.size(), part.data()});
    }
    if (ranges.empty()) continue;
    nvtxMemRegionsRegisterBatch_t batch{};
    batch.extCompatID = NVTX_EXT_COMPATID_MEM;
    batch.structSize = sizeof(batch);
    batch.regionType = NVTX_MEM_TYPE_VIRTUAL_ADDRESS;
    batch.heap = static_cast<nvtxMemHeapHandle_t>(heap.handle);
    batch.regionCount = ranges.size();
    batch.regionDescElementSize = sizeof(ranges[0]);
    batch.regionDescElements = ranges.data();
    nvtxMemRegionsRegister(domain(), &batch);
    for (const auto& range : ranges) registered_.push_back(range.ptr);
  }
}

void MemoryRegions::unregister_parts() {
  if (registered_.empty()) return;
  std::vector<nvtxMemRegionRef_t> refs(registered_.size());
  for (size_t i = 0; i < refs.size(); ++i) refs[i].pointer = registered_[i];
  nvtxMemRegionsUnregisterBatch_t batch{};
  batch.extCompatID = NVTX_EXT_COMPATID_MEM;
  batch.structSize = sizeof(batch);
  batch.refType = NVTX_MEM_REGION_REF_TYPE_POINTER;
  batch.refCount = refs.size();
  batch.refElementSize = sizeof(refs[0]);
  batch.refElements = refs.data();
  nvtxMemRegionsUnregister(domain(), &batch);
  registered_.clear();
}

}  // namespace lserve::cuda
