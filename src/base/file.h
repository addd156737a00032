// Reading files by position, so that a file that shrinks is an error and never a signal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/status.h"

namespace lserve {

// An open regular file. Movable; closed by the destructor. Reads are thread-safe (pread).
class File {
 public:
  // Errors (kModel): no such file, no permission, not a regular file.
  static Result<File> open(const std::string& path);
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();

  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }  // as it was at open()

  // Fills `out` from `offset`, or fails naming the file and the offset where the data ends.
  Status read_at(uint64_t offset, std::span<std::byte> out) const;
  // Fails if size, modification time or inode are no longer those of open().
  Status verify_unchanged() const;

 private:
  File() = default;
  std::string path_;
  int fd_ = -1;
  uint64_t size_ = 0;
  int64_t mtime_ns_ = 0;
  uint64_t inode_ = 0;
};

bool file_exists(const std::string& path);
bool directory_exists(const std::string& path);

// The whole of a file. An error of `kind` if it is missing or larger than max_bytes. Also reads
// pipes and devices (`-f <(command)`).
Result<std::string> read_file(const std::string& path, uint64_t max_bytes,
                              ErrorKind kind = ErrorKind::kModel);
Result<std::string> read_stdin(uint64_t max_bytes);

}  // namespace lserve
