// Owned memory of one device. The backend (kernels/backend.h) allocates it.
#pragma once

#include <cstddef>
#include <utility>

namespace lserve {

// Movable; frees by the function it was made with.
class Buffer {
 public:
  using Free = void (*)(void* data, size_t bytes);

  Buffer() = default;
  Buffer(void* data, size_t bytes, Free free) : data_(data), bytes_(bytes), free_(free) {}
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Buffer() {
    if (data_ != nullptr) free_(data_, bytes_);
  }

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void swap(Buffer& other) {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(free_, other.free_);
  }
  void* data_ = nullptr;
  size_t bytes_ = 0;
  Free free_ = nullptr;
};

// Zeroed memory of the host, aligned to 64 bytes, committed page by page on first touch, so that a
// large pool costs what is used of it. An empty Buffer if the system refuses.
Buffer allocate_host(size_t bytes);

}  // namespace lserve
