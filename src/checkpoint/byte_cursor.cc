// Every length is compared with what is left before anything of that length is allocated.
#include "checkpoint/byte_cursor.h"

#include <algorithm>

#include "base/check.h"
#include "base/strings.h"

namespace lserve {

namespace {
constexpr uint64_t kBufferBytes = 1 << 16;
}

ByteCursor::ByteCursor(const File& file, uint64_t limit) : file_(file), limit_(limit) {
  CHECK_LE(limit, file.size());
}

Status ByteCursor::error(std::string_view what, std::string_view why) const {
  return model_error(cat(file_.path(), ": ", what, ": ", why, " (at byte ", position_, ")"));
}

Status ByteCursor::fill() {
  buffer_.resize(std::min(kBufferBytes, remaining()));
  buffer_start_ = position_;
  return file_.read_at(position_, buffer_);
}

Status ByteCursor::read_bytes(std::span<std::byte> out, std::string_view what) {
  if (out.size() > remaining()) {
    return error(what, limit_ == file_.size()
                           ? cat("the file ends at byte ", limit_, ", ", out.size() - remaining(),
                                 " bytes too early (incomplete download?)")
                           : cat("the header is larger than the ", limit_, " bytes allowed"));
  }
  size_t done = 0;
  while (done < out.size()) {
    uint64_t in_buffer = position_ - buffer_start_;
    if (in_buffer >= buffer_.size()) {
      RETURN_IF_ERROR(fill());
      in_buffer = 0;
    }
    const size_t part = std::min(out.size() - done, buffer_.size() - in_buffer);
    std::memcpy(out.data() + done, buffer_.data() + in_buffer, part);
    done += part;
    position_ += part;
  }
  return {};
}

Result<std::string> ByteCursor::read_string(uint64_t max_bytes, std::string_view what) {
  ASSIGN_OR_RETURN(const auto length, read<uint64_t>(what));
  if (length > max_bytes) {
    return error(what, cat("a string of ", length, " bytes, at most ", max_bytes, " are allowed"));
  }
  if (length > remaining()) {
    return error(what, cat("a string of ", length, " bytes, but the file has ", remaining(),
                           " left (incomplete download?)"));
  }
  std::string text(length, '\0');
  RETURN_IF_ERROR(read_bytes(std::as_writable_bytes(std::span(text)), what));
  return text;
}

}  // namespace lserve
