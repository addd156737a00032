// Walks over one protobuf message in memory, untrusted: no length is believed, nothing is copied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace lserve {

// A field as it lies in the message. Which of the two a number has says its wire type.
struct ProtobufField {
  uint32_t number = 0;
  bool has_bytes = false;  // a string or a message; else a varint or fixed value
  uint64_t value = 0;      // the varint, or the 4 or 8 bytes of a fixed value
  std::string_view bytes;  // into the message
};

class ProtobufReader {
 public:
  // `where` names the message in errors, `offset` is its place in the file.
  // REQUIRES: `message` outlives this and its fields.
  ProtobufReader(std::string_view message, std::string where, size_t offset = 0);

  // The next field; none at the end. Errors (kModel): a field that is cut off, longer than the
  // message, of number 0, or a group. After an error there is no next field.
  Result<std::optional<ProtobufField>> next();
  // A reader of a field's bytes as a message of their own. REQUIRES: field.has_bytes.
  ProtobufReader enter(const ProtobufField& field, std::string_view name) const;

  Status error(std::string_view why) const;

 private:
  std::optional<uint64_t> read_varint();
  std::optional<uint64_t> read_fixed(size_t bytes);

  std::string_view message_;
  std::string where_;
  size_t offset_;
  size_t position_ = 0;
};

}  // namespace lserve
