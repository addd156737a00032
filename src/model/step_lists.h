// StepLists: what the operations of a step read besides activations (tokens, positions as angles,
// slots, page ids, work lists), packed on the host and brought into the backend's memory at once.
//
// A list lies where it does because of the sizes of the lists before it in its region, so steps of
// the same sizes find theirs at the same addresses: a recorded step can be repeated. What grows
// with the context (page ids, spans) has regions of its own. Not thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include "base/check.h"
#include "kernels/backend.h"

namespace lserve {

// The largest step there will be.
struct StepLimits {
  int64_t max_tokens = 0;
  int64_t num_sequences = 1;  // of a decode step, and rows that pad it
  int64_t num_layers = 0;
  int64_t num_kv_heads = 0;
  int64_t num_q_heads = 0;
  int64_t head_dim = 0;
  int64_t context_pages = 0;  // of a sequence
  int64_t budget_pages = 0;   // 0: no list is selected
};

class StepLists {
 public:
  enum class Region { kLists, kRetrievalPageIds, kStreamingPageIds, kSpans };

  static int64_t planned_bytes(const StepLimits& limits);
  // kMemory. `backend` must outlive the lists.
  static Result<StepLists> create(const StepLimits& limits, Backend& backend);

  const StepLimits& limits() const { return limits_; }

  // Forgets the lists of the step before.
  void clear() { used_ = {}; }

  // Room for `count` elements: to be written at `host`, to be read at `device` after upload().
  // REQUIRES: the step is within the limits.
  template <typename T>
  struct Room {
    std::span<T> host;
    std::span<T> device;
  };
  template <typename T>
  Room<T> reserve(Region region, size_t count) {
    static_assert(std::is_trivially_copyable_v<T>);
    const int64_t at = take(region, static_cast<int64_t>(count * sizeof(T)));
    return {{reinterpret_cast<T*>(host_.as<std::byte>() + at), count},
            {reinterpret_cast<T*>(device_.as<std::byte>() + at), count}};
  }
  template <typename T>
  Room<T> add(Region region, std::span<const T> list) {
    const Room<T> room = reserve<T>(region, list.size());
    if (!list.empty()) std::memcpy(room.host.data(), list.data(), list.size_bytes());
    return room;
  }
  // All of a region, as far as it is planned.
  template <typename T>
  std::span<T> whole(Region region) const {
    const Extent& extent = extents_[static_cast<size_t>(region)];
    return {reinterpret_cast<T*>(device_.as<std::byte>() + extent.begin),
            static_cast<size_t>(extent.bytes) / sizeof(T)};
  }

  void upload(Backend& backend) const;

 private:
  static constexpr size_t kNumRegions = 4;
  struct Extent {
    int64_t begin = 0;  // bytes
    int64_t bytes = 0;
  };
  static std::array<Extent, kNumRegions> extents(const StepLimits& limits);
  // Where the next `bytes` bytes of a region begin.
  int64_t take(Region region, int64_t bytes);

  StepLimits limits_;
  std::array<Extent, kNumRegions> extents_;
  std::array<int64_t, kNumRegions> used_{};  // bytes
  Buffer host_;
  Buffer device_;
};

}  // namespace lserve
