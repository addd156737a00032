// AtomicFile: a file that appears whole or not at all.
//
// Bytes go to a temporary file in the same folder; commit() makes them durable and puts that file
// in the place of the old one. Until then, and whatever fails, the old file stays as it was.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/status.h"

namespace lserve {

// Movable; the destructor removes what was not committed. Not thread-safe.
class AtomicFile {
 public:
  // kRuntime: the folder cannot be written, or `path` is there and is no regular file. Through a
  // symbolic link the file that it names is replaced, not the link.
  static Result<AtomicFile> create(const std::string& path);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) noexcept;
  ~AtomicFile();

  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }  // written so far
  // kRuntime, with what the system says (no space, a limit, a device). REQUIRES: not committed.
  Status write(std::span<const std::byte> bytes);
  // kRuntime: the old file is still there. REQUIRES: called once.
  Status commit();

 private:
  AtomicFile() = default;
  Status failed(const char* what) const;

  std::string path_;
  std::string temporary_;  // "": nothing to remove
  int fd_ = -1;
  uint64_t size_ = 0;
};

}  // namespace lserve
