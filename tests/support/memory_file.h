// Bytes as a file that the readers can open by path, without touching a disk: for tests and fuzzers
// that need thousands of them.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"

namespace lserve {

class MemoryFile {
 public:
  MemoryFile() : fd_(::memfd_create("lserve-test", MFD_CLOEXEC)) {
    CHECK(fd_ >= 0);
    path_ = "/proc/self/fd/" + std::to_string(fd_);
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { ::close(fd_); }

  // Replaces the contents; returns the path.
  const std::string& write(std::string_view bytes) {
    cut(0);
    CHECK(::pwrite(fd_, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
    return path_;
  }
  const std::string& write(const uint8_t* data, size_t size) {
    return write(std::string_view(reinterpret_cast<const char*>(data), size));
  }
  void cut(size_t size) { CHECK(::ftruncate(fd_, static_cast<off_t>(size)) == 0); }
  const std::string& path() const { return path_; }

 private:
  int fd_;
  std::string path_;
};

}  // namespace lserve
