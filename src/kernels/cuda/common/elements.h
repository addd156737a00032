// How elementwise kernels are launched: vectors of kVector floats where all addresses allow them.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace lserve::cuda {

inline constexpr int kElementThreads = 256;
inline constexpr int64_t kVector = 4;  // floats

inline bool vectors_fit(int64_t count, std::initializer_list<const void*> pointers) {
  bool fit = count % kVector == 0;
  for (const void* p : pointers) {
    fit = fit && reinterpret_cast<uintptr_t>(p) % (kVector * sizeof(float)) == 0;
  }
  return fit;
}

// CTAs for that many threads.
inline unsigned element_ctas(int64_t threads) {
  return static_cast<unsigned>((threads + kElementThreads - 1) / kElementThreads);
}

}  // namespace lserve::cuda
