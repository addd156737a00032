// Walks once through the head of an untrusted binary file (little-endian), never past its end.
//
// Reads by pread through a small buffer; allocates nothing that the rest of the file could not
// fill. Every error reads "file: what: reason (at byte N)".
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace lserve {

class ByteCursor {
 public:
  // Walks over the first `limit` bytes of `file`. REQUIRES: limit <= file.size(); `file` outlives
  // the cursor.
  ByteCursor(const File& file, uint64_t limit);

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return limit_ - position_; }

  // The next sizeof(T) bytes. `what` names the field in messages.
  template <typename T>
  Result<T> read(std::string_view what) {
    std::byte bytes[sizeof(T)];
    RETURN_IF_ERROR(read_bytes(bytes, what));
    T value;
    std::memcpy(&value, bytes, sizeof(T));
    return value;
  }
  Status read_bytes(std::span<std::byte> out, std::string_view what);
  // A u64 length and that many bytes, at most `max_bytes`.
  Result<std::string> read_string(uint64_t max_bytes, std::string_view what);

  Status error(std::string_view what, std::string_view why) const;

 private:
  Status fill();

  const File& file_;
  uint64_t limit_;
  uint64_t position_ = 0;  // of the next byte in the file
  std::vector<std::byte> buffer_;
  uint64_t buffer_start_ = 0;  // file offset of buffer_[0]
};

}  // namespace lserve
